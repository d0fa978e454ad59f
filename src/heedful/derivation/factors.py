"""Truncated singular value decompositions of affinities, and what was lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, svds

from heedful.core.errors import InputRejected, UsageError
from heedful.derivation.affinity import Affinity
from heedful.derivation.table import Table

SMALL = 1_500
"""Up to the square of this many entries a dense decomposition is quicker, and exact."""


@dataclass(frozen=True)
class FactorReport:
    """What a truncated decomposition kept.

    Attributes:
        asked: Components asked for.
        rank: Components that are there: fewer than asked where the matrix has a smaller rank.
        singular_values: ``(rank,)``, largest first, of the (weighed) matrix.
        energy: Share of the sum of squares that the kept components hold.
        orthogonality: Largest ``|U^T U - 1|`` and ``|V^T V - 1|``.
        residual: Largest ``|A v - s u|`` over the components, over the largest singular value.
    """

    asked: int
    rank: int
    singular_values: np.ndarray
    energy: float
    orthogonality: float
    residual: float

    @property
    def condition(self) -> float:
        """Largest over smallest kept singular value: never under 1."""
        return float(self.singular_values[0] / self.singular_values[-1])


@dataclass(frozen=True)
class Factors:
    """``affinity ~ left @ right.T``, the singular values split evenly.

    Attributes:
        left: ``(context, rank)``.
        right: ``(vocabulary, rank)``.
        report: What was kept.
    """

    left: np.ndarray
    right: np.ndarray
    report: FactorReport


def frequency_weights(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Square roots of how often each context and each token occurs, one count added so that none is 0."""
    row, column = table.row_sums + 1, table.column_sums + 1
    return np.sqrt(row / row.sum()), np.sqrt(column / column.sum())


def factorised(
    matrix: Affinity, rank: int, weights: tuple[np.ndarray, np.ndarray] | None = None, seed: int = 0
) -> Factors:
    r"""The best factors of a rank, by squared error or by squared error weighed with frequency.

    .. math:: \min_{L, R} \sum_{ab} w_a^2 v_b^2 (A_{ab} - L_a \cdot R_b)^2

    Args:
        matrix: Contexts by tokens.
        rank: Components to keep.
        weights: ``(context,)`` and ``(vocabulary,)``, all positive; None weighs all alike.
        seed: Of the iteration's first vector.

    Returns:
        Factors with ``rank`` columns, or as many as the matrix has directions; the report says which.

    Raises:
        UsageError: ``rank`` is under 1.
        InputRejected: The matrix is zero, or the iteration does not converge: there is no silent substitute.
    """
    if rank < 1:
        raise UsageError(f"rank must be at least 1; came {rank}")
    row, column = weights or (np.ones(matrix.shape[0]), np.ones(matrix.shape[1]))
    left, values, right = _decomposed(matrix, rank, row, column, seed)
    # Parts may cancel: what they leave is rounding, measured by the parts and not by itself.
    kept = values > matrix.size(row, column) * max(matrix.shape) * np.finfo(np.float64).eps * 10
    kept[rank:] = False
    if not kept.any():
        raise InputRejected(
            "affinity", "all its entries are 0: it has no directions", "count a longer text, of more than one token"
        )
    left, values, right = left[:, kept], values[kept], right[:, kept]
    report = _report(matrix, rank, (left, values, right), row, column)
    root = np.sqrt(values)
    return Factors(left * root / row[:, None], right * root / column[:, None], report)


def _decomposed(
    matrix: Affinity, rank: int, row: np.ndarray, column: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular triplets, largest first."""
    if matrix.shape[0] * matrix.shape[1] <= SMALL**2 or min(matrix.shape) <= rank + 1:
        rows, columns = np.arange(matrix.shape[0]), np.arange(matrix.shape[1])
        dense = row[:, None] * matrix.at(rows, columns) * column
        left, values, right = np.linalg.svd(dense, full_matrices=False)
        return left, values, right.T
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    try:
        left, values, right = svds(matrix.operator(row, column), k=rank, v0=start, solver="arpack")
    except ArpackNoConvergence as error:
        raise InputRejected(
            "affinity", f"its decomposition did not converge at rank {rank}: {error}", "ask for a smaller rank"
        ) from None
    order = np.argsort(-values)
    return left[:, order], values[order], right.T[:, order]


def _report(
    matrix: Affinity,
    rank: int,
    triplets: tuple[np.ndarray, np.ndarray, np.ndarray],
    row: np.ndarray,
    column: np.ndarray,
) -> FactorReport:
    left, values, right = triplets
    operator = matrix.operator(row, column)
    images = operator @ right
    one = np.eye(len(values))
    return FactorReport(
        asked=rank,
        rank=len(values),
        singular_values=values,
        energy=float((values**2).sum() / matrix.squared_norm(row, column)),
        orthogonality=float(max(np.abs(left.T @ left - one).max(), np.abs(right.T @ right - one).max())),
        residual=float(np.linalg.norm(images - left * values, axis=0).max() / values[0]),
    )
