"""Store one value per document in each finding, so that two reports can be compared document by document."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from heedful.evaluation.evidence import Array
from heedful.evaluation.study import Study

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch

DIGITS = 16
"""Hexadecimal digits of a document's fingerprint: two of a million documents share one with a chance of 3e-8."""


def unit_values(units: Array) -> tuple[float | None, ...]:
    """Return one number per document, with None for missing or infinite values.

    Args:
        units: ``(document,)`` in the order of ``Study.units``.
    """
    return tuple(float(value) if np.isfinite(value) else None for value in units)


def first_unit_values(study: Study, values: Array) -> tuple[float | None, ...]:
    """Return one number per document for values of the first sequences only; None for later documents.

    Args:
        study: The study.
        values: ``(sequence,)`` of the first sequences.
    """
    whole = np.full(len(study.sequences.input_ids), np.nan)
    whole[: len(values)] = values
    return unit_values(study.units(whole))


def document_fingerprints(sequences: TokenBatch) -> list[str]:
    """Return a hash of the tokens of each document, in the order of ``Study.units``.

    Two runs give a document the same name where the same windows of it, cut into the same tokens, were read.
    """
    ids, mask, document = (
        tensor.numpy() for tensor in (sequences.input_ids, sequences.attention_mask, sequences.document)
    )
    found = []
    for label in np.unique(document):
        digest = hashlib.sha256()
        for row in np.flatnonzero(document == label):
            tokens = ids[row][mask[row] == 1].astype("<i8")
            digest.update(len(tokens).to_bytes(8, "little") + tokens.tobytes())
        found.append(digest.hexdigest()[:DIGITS])
    return found


def without_copies(sequences: TokenBatch) -> tuple[TokenBatch, int]:
    """Return the sequences without duplicate documents, and the number of duplicates removed.

    ``heedful.loading.window_choice`` finds copies of texts before cutting them; this is for batches made by hand.

    Args:
        sequences: Token ids with their documents.
    """
    labels = np.unique(sequences.document.numpy())
    first: dict[str, int] = {}
    for label, name in zip(labels.tolist(), document_fingerprints(sequences), strict=True):
        first.setdefault(name, label)
    copies = len(labels) - len(first)
    if not copies:
        return sequences, 0
    kept = torch.from_numpy(np.isin(sequences.document.numpy(), list(first.values())))
    parts = ("input_ids", "attention_mask", "document", "special", "punctuation")
    return replace(sequences, **{name: getattr(sequences, name)[kept] for name in parts}), copies
