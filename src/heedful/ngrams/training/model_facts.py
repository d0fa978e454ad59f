"""Read from a model's folder how its attention was derived and trained, and how far embeddings moved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import polars

from heedful.errors import InputRejected, UsageError
from heedful.loading.regular_file import read_small
from heedful.loading.run_files import RECORD
from heedful.loading.strict_json import read_json
from heedful.loading.wording import escaped
from heedful.ngrams.derivation.model.arms import DERIVED
from heedful.ngrams.derivation.recipe import DerivationRecipe, recipe_named
from heedful.ngrams.derivation.stored_derivation import RECORD as DERIVATION_RECORD
from heedful.ngrams.derivation.stored_derivation import check_size, derivation_record
from heedful.ngrams.training.embedding_drift import DRIFT

FROZEN = "frozen"

FACTS_BYTES, DRIFT_BYTES = 1 << 24, 1 << 26

_TRAINED_BESIDE = ("embeddings", "relink_every")
"""Settings in which a run may differ from its twin with frozen embeddings, beside the seed."""


@dataclass(frozen=True)
class Drift:
    """Last record of embedding drift in a run.

    Attributes:
        step: After which it was taken.
        change: Norm of the change over that of what they were.
        cosine: Of a token's vector with what it was, mean over tokens.
    """

    step: int
    change: float
    cosine: float


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Facts recorded in a model's folder: derivation, training settings, embedding drift.

    Attributes:
        recipe: What its attention was derived by; None where it was learnt, or nothing says so.
        seed: Its seed; None where nothing names one.
        same: What models that differ in their seeds alone have in common.
        twin: What a run has in common with the same run with frozen embeddings; empty where this is no such run.
        description: What it is, in words.
        embeddings: ``frozen``, ``trainable`` or ``linked``; empty where nothing says so.
        drift: Of its embeddings; None where none was recorded.
    """

    recipe: DerivationRecipe | None
    seed: int | None
    same: str
    twin: str = ""
    description: str
    embeddings: str = ""
    drift: Drift | None = None


def model_facts(folder: Path) -> ModelFacts:
    """Read the facts recorded in a model's folder.

    Args:
        folder: Of a model, of a run of ``heedful train``, or any path.

    Raises:
        InputRejected: A record in it cannot be read.
    """
    if (folder / RECORD).is_file():
        return _of_run(folder)
    if (folder / DERIVATION_RECORD).is_file():
        return _of_derivation(folder)
    description = "a model that nothing says was derived"
    return ModelFacts(recipe=None, seed=None, same=str(folder), description=description)


def _of_run(folder: Path) -> ModelFacts:
    record = read_json(folder / RECORD, FACTS_BYTES)
    settings = record.get("settings")
    if not isinstance(settings, Mapping):
        raise InputRejected(escaped(folder / RECORD), "expected settings of a run", "give the folder of a run")
    beside = {name: record.get(name) for name in ("text", "tokenizer")}
    alike = {name: value for name, value in settings.items() if name != "seed"}
    frozen = {name: value for name, value in alike.items() if name not in _TRAINED_BESIDE} | {"embeddings": FROZEN}
    recipe, arm = settings.get("recipe"), settings.get("arm")
    derived = isinstance(recipe, str) and arm in DERIVED
    what = f"recipe {recipe}, arm {arm}, embeddings {settings.get('embeddings')}" if recipe else "not derived"
    return ModelFacts(
        recipe=_recipe(folder, str(recipe), str(settings.get("changes", ""))) if derived else None,
        seed=settings.get("seed") if isinstance(settings.get("seed"), int) else None,
        same=_key(alike | beside),
        twin=_key(frozen | beside) if derived else "",
        description=escaped(f"a run of {settings.get('steps')} steps, {what}"),
        embeddings=escaped(settings.get("embeddings", "")),
        drift=_drift(folder / DRIFT),
    )


def _of_derivation(folder: Path) -> ModelFacts:
    made = derivation_record(folder)
    standard = DerivationRecipe()
    changed = [
        f"{one.name}={getattr(made.recipe, one.name)}"
        for one in fields(DerivationRecipe)
        if getattr(made.recipe, one.name) != getattr(standard, one.name)
    ]
    return ModelFacts(
        recipe=made.recipe,
        seed=made.seed,
        same=_key({"recipe": asdict(made.recipe), "counts": made.counts}),
        description=escaped(f"derived, not trained: {', '.join(changed) or 'corrected'}"),
    )


def _recipe(folder: Path, name: str, changes: str) -> DerivationRecipe:
    try:
        recipe = recipe_named(name, changes.replace(",", " ").split())
        check_size(recipe)
    except UsageError as error:
        raise InputRejected(escaped(folder / RECORD), f"its recipe cannot be read: {escaped(error)}") from error
    return recipe


def _key(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True)


def _drift(path: Path) -> Drift | None:
    """The last step of a table of drift, whose rows of one step all say the same of the embeddings."""
    if not path.is_file():
        return None
    wanted = {"step": polars.Int64, "relative_change": polars.Float64, "cosine": polars.Float64}
    try:
        table = polars.read_csv(
            read_small(path, DRIFT_BYTES, "a table of drift"), columns=list(wanted), schema_overrides=wanted
        )
        last = table.filter(polars.col("step") == polars.col("step").max())
        found = last.row(0)
    except (polars.exceptions.PolarsError, ValueError, IndexError) as error:
        description = "expected a table of steps, relative_change and cosine"
        raise InputRejected(escaped(path), description, "train the run again, or take the file away") from error
    if any(value is None for value in found):
        raise InputRejected(escaped(path), "a record without numbers", "train the run again, or take the file away")
    return Drift(*(dict(zip(table.columns, found, strict=True))[name] for name in wanted))
