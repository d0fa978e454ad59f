"""Read and validate the record that ``heedful ngrams derive`` stored with a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedful.errors import InputRejected, UsageError
from heedful.loading.regular_file import read_json
from heedful.loading.wording import escaped
from heedful.ngrams.counting.reading import Counts
from heedful.ngrams.derivation.recipe import DerivationRecipe

RECORD = "derivation.json"
RECORD_BYTES = 1 << 24

MOST = 4_096
"""Heads that a record may name."""


@dataclass(frozen=True, kw_only=True)
class DerivationRecord:
    """How a model was derived: recipe, counts and lengths.

    Attributes:
        recipe: Of its attention.
        seed: Of its embeddings.
        spreads: Spread of a reference model's logits by layer and head; None where the recipe reads none.
        counts: What it says of the counts.
        digest: Of the counts, as ``digest_of`` says; empty in records that do not tell.
    """

    recipe: DerivationRecipe
    seed: int
    spreads: list[list[float]] | None
    counts: Mapping[str, Any]
    digest: str

    def notes(self, stored: Counts) -> tuple[str, ...]:
        """Return warnings if the given counts differ from those of the derivation.

        Args:
            stored: The counts.
        """
        if not self.digest:
            return (f"Whether {stored.path} are the counts that the model was derived from is unknown: its "
                    f"{RECORD} does not name them.",)  # fmt: skip
        if self.digest == digest_of(stored, self.recipe):
            return ()
        return (f"{stored.path} are not the counts that the model was derived from; what follows is by these.",)


def digest_of(stored: Counts, recipe: DerivationRecipe) -> str:
    """Return the hash (hexadecimal) of the counts that a recipe uses; equal for equal texts and tokenizer.

    Args:
        stored: The counts.
        recipe: Names their tables.

    Raises:
        UsageError: A table was not counted.
    """
    manifest = stored.manifest
    tables = [stored.facts(*pair) for pair in sorted(recipe.wanted())]
    messages = {
        "tokenizer": manifest.fingerprint,
        "documents_are": manifest.documents_are,
        "documents": manifest.documents,
        "tokens": manifest.tokens,
        "texts": [[one.bytes, one.sha256] for one in manifest.texts],
        "tables": [[one.n, one.skip, one.total, one.contexts, one.pairs, one.once] for one in tables],
    }
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


def derivation_record(model: Path) -> DerivationRecord:
    """Read the derivation record from a model's folder.

    Args:
        model: The folder.

    Raises:
        InputRejected: It has none, or one that heedful ngrams derive did not write.
    """
    path = model / RECORD
    if not path.is_file():
        raise InputRejected(escaped(model), f"it has no {RECORD}", "give the folder that heedful ngrams derive wrote")
    stored = read_json(path, limit=RECORD_BYTES)
    try:
        recipe = DerivationRecipe(**stored["recipe"])
        check_size(recipe)
        seed = int(stored["seed"])
    except (KeyError, TypeError, ValueError, UsageError) as error:
        message = f"its recipe cannot be read: {escaped(error)}"
        raise InputRejected(escaped(path), message, "derive the model again") from error
    spreads = _spreads(stored, path) if recipe.calibration == "reference" else None
    counts = stored.get("counts")
    counts = counts if isinstance(counts, dict) else {}
    digest = counts.get("digest")
    return DerivationRecord(
        recipe=recipe, seed=seed, spreads=spreads, counts=counts, digest=digest if isinstance(digest, str) else ""
    )


def check_size(recipe: DerivationRecipe) -> None:
    """Raise an error if an untrusted record has too many heads, before any list of them is built.

    Args:
        recipe: Out of a record.

    Raises:
        UsageError: It has too many.
    """
    sizes = recipe.layers, recipe.heads, recipe.longest, recipe.furthest
    if not all(isinstance(size, int) for size in sizes) or max(sizes) > MOST or recipe.layers * recipe.heads > MOST:
        raise UsageError(f"expected whole numbers, and at most {MOST} heads; came {sizes}")


def _spreads(stored: dict[str, Any], path: Path) -> list[list[float]]:
    """Numbers above 0, rows of them; how many is the derivation's to check."""
    reference = stored.get("reference")
    rows: Any = reference.get("spreads") if isinstance(reference, dict) else None
    if not isinstance(rows, list) or not rows or not all(map(_row, rows)):
        message = "expected the spreads of its reference model's logits, numbers above 0 by layer and head"
        raise InputRejected(escaped(path), message, "derive the model again with --reference")
    return [[float(one) for one in row] for row in rows]


def _row(row: object) -> bool:
    """Whether this is a layer's spreads."""
    return isinstance(row, list) and bool(row) and all(type(one) in (int, float) and one > 0 for one in row)
