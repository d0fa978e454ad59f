"""Truncated singular value decompositions of affinity matrices, with their error.

Cache of decompositions that several derivations share.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation.affinities import Affinity
from heedful.ngrams.derivation.decomposition import Triplets, decomposed
from heedful.ngrams.derivation.encoder import Reader, reader
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


LIMIT = 1 << 30
"""Bytes of triplets, and as many of what reads embeddings, that are kept where many derivations share them."""


@dataclass
class _Entry:
    """Triplets of one matrix.

    Attributes:
        tables: What it was made of; held, so that no other table takes their place.
        rank: Components that the triplets are good for.
        triplets: Of the weighed matrix.
        reports: Of ranks asked for before.
    """

    tables: tuple[NgramTable, ...]
    rank: int
    triplets: Triplets
    reports: dict[int, FactorReport] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.triplets.left.nbytes + self.triplets.right.nbytes


class SharedFactors:
    """Cache of the factors of each matrix and of the encoders for each input; a smaller rank reuses what a larger one
    found.

    What was used last stays longest.

    Args:
        limit: Bytes that are kept of either; 0 keeps nothing.
    """

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[object, ...], _Entry] = OrderedDict()
        self._readers: OrderedDict[tuple[object, ...], tuple[int, Reader]] = OrderedDict()

    def factors(
        self, name: str, tables: Sequence[NgramTable], matrix: Affinity, rank: int, weights: Weights | None
    ) -> Factors:
        """Return the factors of a matrix as ``factorised`` does, cached.

        Args:
            name: Of the matrix: with the tables and with whether it is weighed, all that it depends on.
            tables: What it was made of.
            matrix: Contexts by tokens.
            rank: Components to keep.
            weights: `frequency_weights` of the tables, or None.

        Raises:
            UsageError: ``rank`` is under 1.
            InputRejected: The matrix is zero.
        """
        key = (name, weights is None, *map(id, tables))
        entry = self._entries.pop(key, None)
        if entry is None or entry.rank < rank:
            entry = _Entry(tuple(tables), rank, triplets_of(matrix, rank, weights))
        found = truncated(matrix, rank, weights, entry.triplets, entry.reports.get(rank))
        entry.reports[rank] = found.report
        self._entries[key] = entry
        while self._entries and sum(one.size for one in self._entries.values()) > self._limit:
            self._entries.popitem(last=False)
        return found

    def reading(
        self, name: str, fed: np.ndarray, positions: np.ndarray | None = None, frequency: np.ndarray | None = None
    ) -> Reader:
        """Return the encoder for an input as ``reader`` does, cached.

        Args:
            name: A key of ``ENCODERS``.
            fed: ``(vocabulary, width)``.
            positions: ``(position, width)`` or None.
            frequency: ``(vocabulary,)`` or None.

        Raises:
            UsageError: The name is not known, or the encoder cannot exist for this width.
            InputRejected: What is fed is not finite.
        """
        if fed.nbytes > self._limit:
            return reader(name, fed, positions, frequency)
        key = (name, *map(digest, (fed, positions, frequency)))
        known = self._readers.pop(key) if key in self._readers else None
        size, found = known or (fed.nbytes, reader(name, fed, positions, frequency))
        self._readers[key] = size, found
        while sum(held for held, _ in self._readers.values()) > self._limit:
            self._readers.popitem(last=False)
        return found


def digest(rows: np.ndarray | None) -> bytes:
    """Return a hash that identifies an array; None is allowed.

    Args:
        rows: Any array.
    """
    return (
        b"" if rows is None else hashlib.blake2b(np.ascontiguousarray(rows).data).digest() + repr(rows.shape).encode()
    )
