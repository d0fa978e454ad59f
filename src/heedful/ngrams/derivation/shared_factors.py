"""Cache of decompositions that several derivations share."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from heedful.ngrams.derivation.affinities import Affinity
from heedful.ngrams.derivation.decomposition import Triplets
from heedful.ngrams.derivation.encoder import Reader, reader
from heedful.ngrams.derivation.factors import FactorReport, Factors, Weights, triplets_of, truncated
from heedful.ngrams.derivation.table import NgramTable

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
    """Cache of factors for each matrix, where smaller ranks reuse the triplets of larger ones, and of encoders for
    each input.

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
