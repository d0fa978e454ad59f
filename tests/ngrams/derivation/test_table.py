"""Contexts are found again; what was never counted is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from tests.ngrams.derivation.texts import counted

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation.table import NgramTable

TOKENS = np.array([0, 1, 2, 0, 1, 3])


def test_single_tokens_are_rows_of_their_own_number() -> None:
    table = counted(TOKENS, vocabulary=6)
    assert table.contexts[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert table.counts.toarray()[0].tolist() == [0, 2, 0, 0, 0, 0]
    assert table.row_sums.tolist() == [2, 2, 1, 0, 0, 0]
    assert table.rows_of(np.array([0, 5, 1])).tolist() == [0, -1, 1]


def test_a_pair_is_found_where_it_ends() -> None:
    table = counted(TOKENS, length=2)
    assert table.contexts.tolist() == [[0, 1], [1, 2], [2, 0]]
    assert table.rows_of(np.array([1, 2, 0, 3, 0, 1])).tolist() == [-1, 1, 2, -1, -1, 0]
    assert table.rows_of(np.array([1])).tolist() == [-1]


def test_a_skip_leaves_tokens_out() -> None:
    table = counted(TOKENS, skip=1)
    assert table.counts.toarray()[0].tolist() == [0, 0, 1, 1]


def test_contexts_beyond_64_bits_are_found() -> None:
    contexts = np.array([[70_000, 3, 69_999, 1], [70_000, 3, 69_999, 2]])
    table = NgramTable(contexts, sparse.csr_array(([1.0, 2.0], ([0, 1], [5, 6])), shape=(2, 70_001)))
    assert table.rows_of(np.array([0, 70_000, 3, 69_999, 2])).tolist() == [-1, -1, -1, -1, 1]


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(InputRejected, match="no n-gram was counted"):
        NgramTable(np.zeros((2, 1), dtype=int), sparse.csr_array((2, 4)))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -1.0])
def test_counts_that_are_none_are_refused(broken: float) -> None:
    with pytest.raises(InputRejected, match="some are negative or no numbers"):
        NgramTable(np.arange(2)[:, None], sparse.csr_array([[1.0, 2.0], [broken, 1.0]]))


@pytest.mark.parametrize("token", [4, -1])
def test_tokens_that_were_never_counted_are_refused(token: int) -> None:
    with pytest.raises(InputRejected, match=f"token {token} is outside the 4 that were counted"):
        counted(TOKENS, 2).rows_of(np.array([0, 1, token]))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="came"):
        NgramTable(np.zeros((3, 1), dtype=int), sparse.csr_array(np.ones((2, 4))))
