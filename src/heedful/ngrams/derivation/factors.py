"""Truncated singular value decompositions of affinity matrices, with their error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation.affinities import Affinity
from heedful.ngrams.derivation.decomposition import Triplets, decomposed
from heedful.ngrams.derivation.table import NgramTable

TIED = 1e-9
"""Share of the largest value within which two values are one, where they are found more exactly than that."""

Weights = tuple[np.ndarray, np.ndarray]
"""``(context,)`` and ``(vocabulary,)``, all positive."""


@dataclass(frozen=True)
class FactorReport:
    """Error and singular values of a truncated decomposition.

    Attributes:
        asked: Components asked for.
        rank: Components that are there: fewer than asked where the matrix has a smaller rank.
        singular_values: ``(rank,)``, largest first, of the (weighed) matrix.
        energy: Share of the sum of squares that the kept components hold.
        orthogonality: Largest ``|U^T U - 1|`` and ``|V^T V - 1|``.
        residual: Largest ``|A v - s u|`` and ``|A^T u - s v|`` over the components, over the largest singular value.
        following: Largest singular value that was left out; 0 where nothing was.
        parts: Parts of a large sparse matrix that share neither context nor token; None where none were looked for.
    """

    asked: int
    rank: int
    singular_values: np.ndarray
    energy: float
    orthogonality: float
    residual: float
    following: float = 0.0
    parts: int | None = None

    @property
    def condition(self) -> float:
        """Largest kept singular value divided by the smallest; at least 1."""
        return float(self.singular_values[0] / self.singular_values[-1])

    @property
    def tied(self) -> int:
        """Number of kept components whose singular value ties with a dropped one, so that the choice is arbitrary."""
        near = max(TIED, self.residual) * self.singular_values[0]
        return int((self.singular_values <= self.following + near).sum()) if self.following else 0

    @property
    def note(self) -> str:
        """Sentence on arbitrary choices among tied components; empty if there are none."""
        if not self.tied:
            return ""
        first = self.rank - self.tied + 1
        which = f"component {first} has" if self.tied == 1 else f"components {first} to {self.rank} have"
        parts = f"; the matrix falls into {self.parts:,} parts that share no token" if (self.parts or 0) > 1 else ""
        return f"{which} the singular value of one left out, {self.following:.4g}: any of that value do as well{parts}"


@dataclass(frozen=True)
class Factors:
    """Low-rank factors ``affinity ~ left @ right.T``, with the singular values split evenly.

    Attributes:
        left: ``(context, rank)``.
        right: ``(vocabulary, rank)``.
        report: What was kept.
    """

    left: np.ndarray
    right: np.ndarray
    report: FactorReport


def frequency_weights(table: NgramTable) -> Weights:
    """Return the square roots of context and token frequencies, with one count added."""
    row, column = table.row_sums + 1, table.column_sums + 1
    return np.sqrt(row / row.sum()), np.sqrt(column / column.sum())


def factorised(matrix: Affinity, rank: int, weights: Weights | None = None, seed: int = 0) -> Factors:
    r"""Return the least-squares factors of a given rank, plain or weighted by frequency.

    .. math:: \min_{L, R} \sum_{ab} w_a^2 v_b^2 (A_{ab} - L_a \cdot R_b)^2

    Args:
        matrix: Contexts by tokens.
        rank: Components to keep.
        weights: ``(context,)`` and ``(vocabulary,)``, all positive; None weighs all alike.
        seed: Of what iterations start from.

    Returns:
        Factors with ``rank`` columns, or as many as the matrix has directions; the report says which.

    Raises:
        UsageError: ``rank`` is under 1.
        InputRejected: The matrix is zero.
    """
    return truncated(matrix, rank, weights, triplets_of(matrix, rank, weights, seed))


def triplets_of(matrix: Affinity, rank: int, weights: Weights | None = None, seed: int = 0) -> Triplets:
    """Return the largest ``rank + 1`` singular triplets of the weighted matrix; the last one shows the first dropped
    singular value.

    Args:
        matrix: Contexts by tokens.
        rank: Components to keep.
        weights: As of `factorised`.
        seed: As of `factorised`.

    Raises:
        UsageError: ``rank`` is under 1.
    """
    if rank < 1:
        raise UsageError(f"rank must be at least 1; came {rank}")
    return decomposed(matrix.weighed(*(weights or _alike(matrix))), rank + 1, seed)


def truncated(
    matrix: Affinity, rank: int, weights: Weights | None, triplets: Triplets, known: FactorReport | None = None
) -> Factors:
    """Convert the first singular triplets to factors.

    Args:
        matrix: Contexts by tokens.
        rank: Components to keep.
        weights: As of `factorised`.
        triplets: Of the weighed matrix, those of this rank at least.
        known: What an earlier call reported of all the same.

    Raises:
        InputRejected: The matrix is zero.
    """
    row, column = weights or _alike(matrix)
    # Parts may cancel: what they leave is rounding, measured by the parts and not by itself.
    least = matrix.size(row, column) * max(matrix.shape) * np.finfo(np.float64).eps * 10
    there = triplets.values > least
    kept = there.copy()
    kept[rank:] = False
    if not kept.any():
        raise InputRejected(
            "affinity", "all its entries are 0: it has no directions", "count a longer text, of more than one token"
        )
    left, values, right = triplets.left[:, kept], triplets.values[kept], triplets.right[:, kept]
    report = known or FactorReport(
        asked=rank,
        rank=len(values),
        singular_values=values,
        energy=float((values**2).sum() / matrix.squared_norm(row, column)),
        orthogonality=max(_skew(left), _skew(right)),
        residual=_residual(matrix, left, values, right, row, column),
        following=float(triplets.values[there & ~kept].max(initial=0.0)),
        parts=triplets.parts,
    )
    root = np.sqrt(values)
    return Factors(left * root / row[:, None], right * root / column[:, None], report)


def _alike(matrix: Affinity) -> Weights:
    return np.ones(matrix.shape[0]), np.ones(matrix.shape[1])


def _skew(vectors: np.ndarray) -> float:
    return float(np.abs(vectors.T @ vectors - np.eye(vectors.shape[1])).max())


def _residual(
    matrix: Affinity, left: np.ndarray, values: np.ndarray, right: np.ndarray, row: np.ndarray, column: np.ndarray
) -> float:
    """On both sides: either alone is 0 by the way that an iteration makes one side of the other."""
    operator = matrix.operator(row, column)
    images = operator.matmat(right) - left * values, operator.rmatmat(left) - right * values
    return float(max(np.linalg.norm(image, axis=0).max() for image in images) / values[0])
