"""Read from a model's folder how its attention was derived and trained, and how far embeddings moved.

Track trained embeddings: how far they moved, and whether attention still agrees with the counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import polars
import torch
from transformers import PreTrainedTokenizerFast, TrainerCallback

from heedful.errors import InputRejected, UsageError
from heedful.loading.documents import load_documents
from heedful.loading.regular_file import read_json, read_small
from heedful.loading.run_files import RECORD
from heedful.loading.sequences import TokenBatch, make_sequences
from heedful.loading.wording import escaped
from heedful.ngrams.alignment.count_alignment import align
from heedful.ngrams.counting.reading import read_counts
from heedful.ngrams.derivation.model.arms import DERIVED, relink
from heedful.ngrams.derivation.recipe import DerivationRecipe, recipe_named
from heedful.ngrams.derivation.stored_derivation import RECORD as DERIVATION_RECORD
from heedful.ngrams.derivation.stored_derivation import check_size, derivation_record
from heedful.ngrams.derivation.table import stored_table
from heedful.reporting.write import write_atomic

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


DRIFT = "drift.csv"
SEQUENCES = 16
"""Held-out sequences that alignment is read on."""

RESAMPLES = 200
"""Of the intervals over their documents."""

_SCHEMA = {
    "step": polars.Int64, "layer": polars.Int64, "head": polars.Int64, "n": polars.Int64, "skip": polars.Int64,
    "relative_change": polars.Float64, "cosine": polars.Float64, "divergence": polars.Float64,
    "uniform": polars.Float64, "skill": polars.Float64, "skill_low": polars.Float64, "skill_high": polars.Float64,
}  # fmt: skip


class Relinking(TrainerCallback):
    """Trainer callback that recomputes attention for the current embeddings every N steps and at the end.

    Args:
        every: Steps between two.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Recompute attention before the step is saved, so that a resumed run has identical matrices."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            relink(given["model"])


def drift(rows: torch.Tensor, begun: torch.Tensor) -> tuple[float, float]:
    r"""Return the relative change of embeddings and the mean cosine with their initial values.

    .. math:: \|E - E_0\|_F / \|E_0\|_F, \qquad \operatorname{mean}_t \cos(E_t, E_{0,t})

    Args:
        rows: ``(vocabulary, width)`` as they are.
        begun: ``(vocabulary, width)`` as they were.

    Returns:
        Relative change, and mean cosine; NaN where they were 0.
    """
    now, before = rows.detach().double().cpu(), begun.double()
    change = torch.linalg.norm(now - before) / torch.linalg.norm(before)
    return float(change), float(torch.nn.functional.cosine_similarity(now, before, dim=-1).mean())


class EmbeddingDrift(TrainerCallback):
    """Trainer callback that writes embedding drift and attention skill, one row per head, every N steps.

    Skill is ``1 - KL(expected, actual) / KL(expected, uniform)`` on held-out sequences, expected from the counts that
    the head's recipe names: 1 where attention is what they predict, 0 where it is no better than uniform attention.

    Args:
        model: The model before its first step.
        tokenizer: Its tokenizer.
        counts: Folder of counts.
        recipe: What it is derived by.
        out: Folder of the run; ``drift.csv`` is written there, whole at each record.
        every: Steps between two records; the begin and the last step are recorded too.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerFast,
        counts: Path,
        recipe: DerivationRecipe,
        out: Path,
        every: int,
    ) -> None:
        self.begun = model.get_input_embeddings().weight.detach().clone().cpu()
        self.path, self.every, self.recipe = out / DRIFT, every, recipe
        self.length = model.config.max_position_embeddings
        self.tokenizer, self.held_out, self.counts = tokenizer, out / "held_out.jsonl", counts
        self.rows: list[dict[str, Any]] = []
        self._sequences: TokenBatch | None = None
        self._tables: dict[tuple[int, int], Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record the initial state, or continue after the resumed step's records."""
        if not state.is_world_process_zero:
            return
        stored = read_counts(self.counts)
        wanted = {
            self._speaks_of(layer, head) for layer in range(self.recipe.layers) for head in range(self.recipe.heads)
        }
        self._tables = {pair: stored_table(stored, *pair) for pair in sorted(wanted)}
        self._sequences = make_sequences(
            load_documents([self.held_out]), self.tokenizer, seq_len=self.length, sequences=SEQUENCES, seed=0
        )
        if state.global_step and self.path.is_file():
            earlier = polars.read_csv(self.path, schema=_SCHEMA)
            self.rows = earlier.filter(polars.col("step") <= state.global_step).to_dicts()
        else:
            self._record(given["model"], state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record the step if it is due, after attention was recomputed."""
        last = state.global_step == state.max_steps
        if state.is_world_process_zero and (last or state.global_step % self.every == 0):
            self._record(given["model"], state.global_step)

    def _speaks_of(self, layer: int, head: int) -> tuple[int, int]:
        """Context and skip of the counts that a head's attention is expected from."""
        context, skip = self.recipe.context(layer), self.recipe.skip(head)
        return (context, skip) if (context, skip) in self.recipe.wanted() else (1, skip)

    def _record(self, model: Any, step: int) -> None:
        if self._sequences is None:
            return
        change, cosine = drift(model.get_input_embeddings().weight, self.begun)
        found = align(model, self._sequences, self._tables, resamples=RESAMPLES)
        for head in found.heads:
            if (head.n, head.skip) != self._speaks_of(head.layer, head.head):
                continue
            nats = head.divergence.estimate, head.uniform.estimate
            skill = head.skill.estimate, head.skill.low, head.skill.high
            words = (step, head.layer, head.head, head.n, head.skip, change, cosine)
            self.rows.append(dict(zip(_SCHEMA, (*words, *nats, *skill), strict=True)))
        write_atomic(self.path, polars.DataFrame(self.rows, schema=_SCHEMA).write_csv(), overwrite=True)
