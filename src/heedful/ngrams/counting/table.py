r"""Counts as sparse matrices, observed contexts by next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from heedful.errors import UsageError
from heedful.ngrams.counting.packing import Pairs, bits_of, unpack


@dataclass(frozen=True)
class CountTable:
    r"""Sparse count table :math:`C^{n,s}`, contexts by next tokens (see ``heedful.ngrams.counting.packing``).

    Attributes:
        n: Tokens in a context; 0 for the table of the tokens alone, whose one context is empty.
        skip: Tokens between a context and the token after it.
        contexts: ``(context, n)``, uint32; the observed contexts, ascending, each in the order of the text.
        matrix: ``(context, vocabulary)``, int64, sparse by rows; how often each token stood ``skip + 1`` positions
            behind the end of each context. Every stored entry is at least 1.
    """

    n: int
    skip: int
    contexts: NDArray[np.uint32]
    matrix: csr_array

    @classmethod
    def of(cls, pairs: Pairs, n: int, skip: int, vocabulary: int) -> CountTable:
        """Create a table from pairs in ascending order."""
        packed, starts = np.unique(pairs.context, return_index=True)
        pointers = np.append(starts, len(pairs.context))
        matrix = csr_array(
            (pairs.count, pairs.next.astype(np.int64), pointers), shape=(len(packed), vocabulary), dtype=np.int64
        )
        return cls(n, skip, unpack(packed, n, bits_of(vocabulary)), matrix)

    @property
    def total(self) -> int:
        """Number of counted positions."""
        return int(self.matrix.sum())

    @property
    def context_counts(self) -> NDArray[np.int64]:
        """Row sums :math:`r_a`, ``(context,)``: number of occurrences of each context before a token."""
        return np.asarray(self.matrix.sum(axis=1), dtype=np.int64).reshape(-1)

    @property
    def next_counts(self) -> NDArray[np.int64]:
        """Column sums :math:`c_b`, ``(vocabulary,)``: number of times each token followed a context."""
        return np.asarray(self.matrix.sum(axis=0), dtype=np.int64).reshape(-1)

    def conditional(self) -> csr_array:
        r"""Return the probability of each token after each context, :math:`P^{n,s}_{ab} = C_{ab} / r_a`.

        Expected attention of a query at position ``i`` on the key at ``k <= i`` is this probability of key ``k``'s
        token after the context that ends at ``i``, divided by its sum over ``k <= i``.

        Returns:
            ``(context, vocabulary)``, float64; every row sums to 1. A context that was not observed has no row.
        """
        scale = np.repeat(1 / self.context_counts, np.diff(self.matrix.indptr))
        return csr_array((self.matrix.data * scale, self.matrix.indices, self.matrix.indptr), shape=self.matrix.shape)

    def rows_of(self, contexts: NDArray[np.integer] | Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """Return the row index of each context, ``(context,)``; -1 for contexts that were not observed.

        Args:
            contexts: ``(context, n)``, token ids in the order of the text.

        Returns:
            ``(context,)``; -1 where a context was not observed.

        Raises:
            UsageError: The shape is another, or an id is outside the vocabulary.
        """
        asked = np.asarray(contexts, dtype=np.int64).reshape(-1, self.n) if np.size(contexts) else None
        if asked is None:
            return np.empty(0, np.int64)
        vocabulary = self.matrix.shape[1]
        if np.shape(contexts)[-1] != self.n:
            raise UsageError(f"expected contexts of {self.n} tokens, got shape {np.shape(contexts)}")
        if asked.min() < 0 or asked.max() >= vocabulary:
            worst = int(asked.max() if asked.max() >= vocabulary else asked.min())
            raise UsageError(f"token id {worst} is outside the vocabulary of {vocabulary:,} tokens")
        known, wanted = _packed(self.contexts, vocabulary), _packed(asked, vocabulary)
        place = np.searchsorted(known, wanted)
        found = place < len(known)
        found[found] = known[place[found]] == wanted[found]
        return np.where(found, place, -1)


def _packed(contexts: NDArray, vocabulary: int) -> NDArray[np.int64]:
    packed = np.zeros(len(contexts), dtype=np.int64)
    for column in contexts.T:
        packed = (packed << bits_of(vocabulary)) | column.astype(np.int64)
    return packed
