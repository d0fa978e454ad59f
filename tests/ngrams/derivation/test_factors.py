"""Factors: best of their rank, largest first, and nothing hidden where they cannot be had."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from tests.ngrams.derivation.texts import characters, counted

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation import decomposition, factors
from heedful.ngrams.derivation.affinities import Affinity, affinity
from heedful.ngrams.derivation.factors import factorised, frequency_weights
from heedful.ngrams.derivation.table import NgramTable

TABLE = counted(characters(20_000))


def test_the_first_singular_value_of_the_normalised_matrix_is_one() -> None:
    found = factorised(affinity("normalised", TABLE), 8)
    assert found.report.singular_values[0] == pytest.approx(1.0, abs=1e-9)
    assert (np.diff(found.report.singular_values) <= 0).all()
    for factor, sums in ((found.left, TABLE.row_sums), (found.right, TABLE.column_sums)):
        assert abs(factor[:, 0] @ np.sqrt(sums / TABLE.total)) > 0.99999
    assert found.report.condition >= 1
    assert found.report.orthogonality < 1e-10


def test_at_full_rank_the_product_is_the_matrix() -> None:
    matrix = affinity("log_probability", TABLE)
    found = factorised(matrix, TABLE.vocabulary, frequency_weights(TABLE))
    rows = np.arange(TABLE.vocabulary)
    np.testing.assert_allclose(found.left @ found.right.T, matrix.at(rows, rows), atol=1e-9)
    assert found.report.energy == pytest.approx(1.0)


def test_each_criterion_is_best_by_its_own_measure() -> None:
    matrix, weights = affinity("log_probability", TABLE), frequency_weights(TABLE)
    rows = np.arange(TABLE.vocabulary)
    plain, weighed = factorised(matrix, 6), factorised(matrix, 6, weights)

    def lost(found: factors.Factors, row: np.ndarray, column: np.ndarray) -> float:
        error = matrix.at(rows, rows) - found.left @ found.right.T
        return float(((row[:, None] * error * column) ** 2).sum())

    one = np.ones(len(rows))
    assert lost(plain, one, one) < lost(weighed, one, one)
    assert lost(weighed, *weights) < lost(plain, *weights)
    share = 1 - lost(weighed, *weights) / matrix.squared_norm(*weights)
    assert weighed.report.energy == pytest.approx(share)


def test_the_iteration_agrees_with_the_dense_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, weights = affinity("log_probability_backoff", TABLE), frequency_weights(TABLE)
    dense = factorised(matrix, 10, weights)
    monkeypatch.setattr(decomposition, "SMALL", 0)
    iterated = factorised(matrix, 10, weights)
    np.testing.assert_allclose(iterated.left @ iterated.right.T, dense.left @ dense.right.T, atol=1e-6)
    assert iterated.report.residual < 1e-6


def test_more_components_than_directions_is_said() -> None:
    counts = sparse.csr_array(np.outer([1.0, 2, 3, 4], [1.0, 1, 2, 2]))
    table = NgramTable(np.arange(4)[:, None], counts)
    found = factorised(affinity("normalised", table), 3)
    assert (found.report.asked, found.report.rank) == (3, 1)


def test_a_matrix_of_zeros_is_refused() -> None:
    nothing = Affinity.of(sparse.csr_array((3, 3)))
    with pytest.raises(InputRejected, match="all its entries are 0"):
        factorised(nothing, 2)


def test_many_contexts_of_few_tokens_are_not_held_densely(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = counted(characters(6_000), 2)
    matrix, weights = affinity("log_probability_backoff", pairs), frequency_weights(pairs)
    dense = factorised(matrix, 10, weights)
    monkeypatch.setattr(decomposition, "SMALL", pairs.vocabulary + 1)
    monkeypatch.setattr(Affinity, "at", lambda self, rows, columns: pytest.fail("the whole matrix was asked for"))
    iterated = factorised(matrix, 10, weights)
    np.testing.assert_allclose(iterated.left @ iterated.right.T, dense.left @ dense.right.T, atol=1e-6)


def test_a_rank_under_one_is_refused() -> None:
    with pytest.raises(UsageError, match="came 0"):
        factorised(affinity("normalised", TABLE), 0)
