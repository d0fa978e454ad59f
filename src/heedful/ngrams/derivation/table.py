"""Counts for one n-gram length and skip, as a sparse matrix of observed contexts by tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.counting.reading import Counts


@dataclass(frozen=True)
class NgramTable:
    """Sparse counts of how often each token follows each observed context.

    With the context at positions ``i - n + 1 .. i``, the counted token stands at ``i + 1 + skip``.

    Attributes:
        contexts: ``(context, n)`` token numbers, distinct and in order; where n = 1, every token once.
        counts: ``(context, vocabulary)`` sparse counts, float64.
        skip: Tokens left out between the context and the counted token.
    """

    contexts: np.ndarray
    counts: sparse.csr_array
    skip: int = 0

    def __post_init__(self) -> None:
        if self.contexts.ndim != 2 or self.counts.shape[0] != len(self.contexts):
            raise UsageError(
                f"a table wants contexts (context, n) and counts (context, vocabulary); came {self.contexts.shape} "
                f"and {self.counts.shape}"
            )
        if not self.counts.nnz:
            raise InputRejected("counts", "no n-gram was counted", "give a longer text")
        if not (np.isfinite(self.counts.data).all() and (self.counts.data >= 0).all()):
            raise InputRejected("counts", "some are negative or no numbers", "count the text again")

    @classmethod
    def of_tokens(cls, contexts: np.ndarray, counts: sparse.csr_array, skip: int = 0) -> NgramTable:
        """Create a table of single-token contexts over the whole vocabulary; unseen contexts are empty rows.

        Args:
            contexts: ``(context, n)`` token numbers.
            counts: ``(context, vocabulary)``.
            skip: As the attribute.
        """
        counts = sparse.csr_array(counts, dtype=np.float64)
        if contexts.shape[1] == 1:
            size = counts.shape[1]
            place = sparse.csr_array(
                (np.ones(len(contexts)), (contexts[:, 0], np.arange(len(contexts)))), shape=(size, len(contexts))
            )
            contexts, counts = np.arange(size)[:, None], sparse.csr_array(place @ counts)
        return cls(contexts, counts, skip)

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return int(self.counts.shape[1])

    @property
    def length(self) -> int:
        """Number of tokens in a context, the n of the n-grams."""
        return int(self.contexts.shape[1])

    @cached_property
    def row_sums(self) -> np.ndarray:
        """Number of occurrences of each context before a token, ``(context,)``."""
        return np.asarray(self.counts.sum(axis=1)).ravel()

    @cached_property
    def column_sums(self) -> np.ndarray:
        """Number of times each token followed a context, ``(vocabulary,)``."""
        return np.asarray(self.counts.sum(axis=0)).ravel()

    @cached_property
    def total(self) -> float:
        """Sum of all counts."""
        return float(self.row_sums.sum())

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        known = _packed(self.contexts, self.vocabulary)
        return known, np.argsort(known)

    def rows_of(self, tokens: np.ndarray) -> np.ndarray:
        """Return the row of the context that ends at each position.

        Args:
            tokens: ``(position,)`` token numbers of one document.

        Returns:
            ``(position,)`` rows; -1 where the context was never counted or the document is too short.

        Raises:
            InputRejected: A number is outside the vocabulary.
        """
        found = np.full(len(tokens), -1)
        outside = tokens[(tokens < 0) | (tokens >= self.vocabulary)]
        if len(outside):
            raise InputRejected(
                "text", f"token {outside[0]} is outside the {self.vocabulary:,} that were counted",
                "read the text with the tokenizer of the counts",
            )  # fmt: skip
        if len(tokens) < self.length:
            return found
        grams = np.lib.stride_tricks.sliding_window_view(tokens, self.length)
        (known, order), asked = self._known, _packed(grams, self.vocabulary)
        at = np.minimum(np.searchsorted(known, asked, sorter=order), len(known) - 1)
        rows = order[at]
        rows = np.where((known[rows] == asked) & (self.row_sums[rows] > 0), rows, -1)
        found[self.length - 1 :] = rows
        return found


def stored_table(stored: Counts, n: int, skip: int = 0) -> NgramTable:
    """Read a count table from disk as an ``NgramTable``.

    Args:
        stored: Counts.
        n: Tokens in a context.
        skip: Tokens left out.

    Raises:
        UsageError: It was not counted.
        InputRejected: Nothing was, or a file of it was cut or changed.
    """
    if not stored.facts(n, skip).total:
        message = f"its table of n = {n}, skip {skip} is empty: no document has {n + skip + 1} tokens"
        raise InputRejected(str(stored.path), message, "count a longer text")
    found = stored.table(n, skip)
    return NgramTable.of_tokens(found.contexts.astype(np.int64), found.matrix, skip)


def _packed(grams: np.ndarray, vocabulary: int) -> np.ndarray:
    """Each n-gram as one number; as Python's own integers where 64 bits do not hold it."""
    wide = float(vocabulary) ** grams.shape[1] > 2.0**63
    packed = np.zeros(len(grams), dtype=object if wide else np.int64)
    for column in grams.T:
        packed = packed * vocabulary + (column.astype(object) if wide else column.astype(np.int64))
    return packed
