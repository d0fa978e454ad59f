"""Token embeddings for which weights are derived, and a fingerprint that links embedding and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from heedful.errors import UsageError
from heedful.ngrams.derivation.affinities import Affinity, log_probability, normalised, ppmi
from heedful.ngrams.derivation.factors import Factors, SharedFactors, Weights, frequency_weights
from heedful.ngrams.derivation.table import NgramTable


def random_unit(table: NgramTable, width: int, seed: int, shared: SharedFactors | None = None) -> np.ndarray:
    """Return normally distributed embedding rows of length 1, ``(vocabulary, width)``."""
    rows = np.random.default_rng(seed).standard_normal((table.vocabulary, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def orthonormal(table: NgramTable, width: int, seed: int, shared: SharedFactors | None = None) -> np.ndarray:
    """Return orthonormal embedding rows; the width must be at least the vocabulary size."""
    if width < table.vocabulary:
        raise UsageError(
            f"embedding 'orthonormal' wants a width of at least the vocabulary, {table.vocabulary}; came {width}"
        )
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((width, table.vocabulary)))[0].T


def ppmi_vectors(table: NgramTable, width: int, seed: int, shared: SharedFactors | None = None) -> np.ndarray:
    """Return left factors of positive PMI as rows of length 1; unseen tokens are random."""
    found = _factors("ppmi", ppmi(table), table, width, None, shared).left
    return _filled(found, table, width, seed)


def normalised_factors(table: NgramTable, width: int, seed: int, shared: SharedFactors | None = None) -> np.ndarray:
    """Return the concatenated query and key factors of the normalised matrix, half the width each."""
    return _halves(_factors("normalised", normalised(table), table, width // 2, None, shared), width)


def log_probability_factors(
    table: NgramTable, width: int, seed: int, shared: SharedFactors | None = None
) -> np.ndarray:
    """Return the concatenated, frequency-weighted query and key factors of ``log P``, half the width each."""
    weights, matrix = frequency_weights(table), log_probability(table)
    return _halves(_factors("log_probability", matrix, table, width // 2, weights, shared), width)


def _factors(
    name: str, matrix: Affinity, table: NgramTable, rank: int, weights: Weights | None, shared: SharedFactors | None
) -> Factors:
    return (shared or SharedFactors()).factors(name, [table], matrix, rank, weights)


def _halves(factors: Factors, width: int) -> np.ndarray:
    left, right = factors.left, factors.right
    half = width // 2
    rows = np.zeros((len(right), width))
    rows[:, : left.shape[1]], rows[:, half : half + right.shape[1]] = left, right
    return rows


def _filled(rows: np.ndarray, table: NgramTable, width: int, seed: int) -> np.ndarray:
    """Rows of length 1; those without direction, and columns that are missing, from random ones."""
    wide = np.zeros((len(rows), width))
    wide[:, : rows.shape[1]] = rows
    size = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.where(size > 0, wide / np.where(size > 0, size, 1.0), random_unit(table, width, seed))


EMBEDDINGS: dict[str, Callable[[NgramTable, int, int, SharedFactors | None], np.ndarray]] = {
    function.__name__: function
    for function in (random_unit, orthonormal, ppmi_vectors, normalised_factors, log_probability_factors)
}
"""Embeddings by name: ``(table, width, seed, shared)`` to ``(vocabulary, width)``."""


def embedding(name: str, table: NgramTable, width: int, seed: int, shared: SharedFactors | None = None) -> np.ndarray:
    """Return the embedding of that name, ``(vocabulary, width)`` float64.

    Args:
        name: A key of ``EMBEDDINGS``.
        table: Counts whose contexts are single tokens.
        width: Numbers a token.
        seed: Of whatever is random in it.
        shared: Decompositions that other derivations worked out.

    Raises:
        UsageError: The name is not known, the width cannot be had, or contexts are longer than a token.
    """
    if name not in EMBEDDINGS:
        raise UsageError(f"embedding {name!r} is not known; one of: {', '.join(EMBEDDINGS)}")
    if table.length != 1:
        raise UsageError(f"an embedding wants counts after 1 token; these are after {table.length}")
    if width < 2:
        raise UsageError(f"width of an embedding must be at least 2; came {width}")
    return EMBEDDINGS[name](table, width, seed, shared)


def fingerprint(rows: np.ndarray) -> str:
    """Return the SHA-256 of an embedding as float32; derived weights fit only the embedding they were made for."""
    stored = np.ascontiguousarray(rows, dtype="<f4")
    return hashlib.sha256(repr(stored.shape).encode() + stored.tobytes()).hexdigest()
