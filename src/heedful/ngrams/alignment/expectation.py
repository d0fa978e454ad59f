"""Predict attention from counts for the rows of one batch, computed once for all layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heedful.evaluation.evidence import Array
from heedful.ngrams.derivation.affinities import Affinity, probability
from heedful.ngrams.derivation.expected import expected_rows
from heedful.ngrams.derivation.row_alignment import row_alignment
from heedful.ngrams.derivation.table import NgramTable

Key = tuple[int, int]
"""Tokens in a context, and skip."""

Seen = NDArray[np.bool_]
"""Which keys a query sees."""

KEPT = 1 << 23
"""Numbers that are kept for the next layer; beyond it they are reckoned again."""


@dataclass(frozen=True)
class Expectation:
    """Attention weights that one count table predicts for some rows of one sequence.

    Attributes:
        counts: Expected weights ``(row, key)``; NaN in rows without an expectation.
        unseen: The same by the held-out counts, or None.
        frequency: KL from ``counts`` to attention by frequency, ``(row,)``.
    """

    counts: Array
    unseen: Array | None
    frequency: Array


@dataclass
class Expectations:
    """Predictions of all count tables for the current batch.

    Attributes:
        tables: Counts.
        unseen: Held-out counts of the same contexts and skips; empty for none.
    """

    tables: Mapping[Key, NgramTable]
    unseen: Mapping[Key, NgramTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._likelihoods = {id(table): probability(table) for table in (*self.tables.values(), *self.unseen.values())}
        self._kept: dict[tuple[int, int, Key, bytes], Expectation] = {}
        self._size = 0

    def forget(self) -> None:
        """Drop all cached predictions; call this when the batch changes."""
        self._kept, self._size = {}, 0

    def of(
        self, place: int, tokens: np.ndarray, rows: np.ndarray, key: Key, visible: Seen | None = None
    ) -> Expectation:
        """Return the attention that one count table predicts for some rows.

        Args:
            place: Of the sequence in the batch.
            tokens: ``(position,)`` its tokens.
            rows: Positions of the queries.
            key: The table.
            visible: ``(row, position)``, where a layer's queries see fewer keys than all up to them.
        """
        window = b"" if visible is None else np.packbits(visible).tobytes()
        name = (place, int(rows[0]) if len(rows) else -1, key, window)
        if name in self._kept:
            return self._kept[name]
        expected = self._rows(self.tables[key], tokens, rows, visible)
        unseen = self._rows(self.unseen[key], tokens, rows, visible) if key in self.unseen else None
        logs = frequency_log_weights(self.tables[key], tokens, rows, visible)
        found = Expectation(expected, unseen, row_alignment(expected, logs, rows, visible).divergence)
        self._size += 2 * expected.size
        if self._size <= KEPT:
            self._kept[name] = found
        return found

    def _rows(self, table: NgramTable, tokens: np.ndarray, rows: np.ndarray, visible: Seen | None) -> Array:
        likelihood: Affinity = self._likelihoods[id(table)]
        return expected_rows(table, tokens, rows, likelihood, visible)


def frequency_log_weights(
    table: NgramTable, tokens: np.ndarray, rows: np.ndarray, visible: Seen | None = None
) -> Array:
    r"""Return log weights of attention by token frequency, without context.

    .. math:: A_{ik} = c(t_k) / \sum_{j \le i} c(t_j)

    Counts of a shuffled text would expect this of every row, the longer it is the more nearly.
    Where no token in view was counted, weights are equal.

    Args:
        table: Counts.
        tokens: ``(position,)``.
        rows: Positions of the queries.
        visible: ``(row, key)``, where queries see fewer keys than all up to them.

    Returns:
        ``(row, key)`` natural logs, -inf behind the query and at tokens that were never counted.
    """
    seen = np.arange(len(tokens))[None, :] <= rows[:, None] if visible is None else visible
    weights = np.where(seen, table.column_sums[tokens][None, :], 0.0)
    none = weights.sum(-1, keepdims=True) == 0
    weights = np.where(none, seen.astype(float), weights)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(weights / np.maximum(weights.sum(-1, keepdims=True), 1.0)))
