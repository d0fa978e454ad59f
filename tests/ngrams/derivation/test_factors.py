"""Factors: best of their rank, largest first, and nothing hidden where they cannot be had."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from tests.ngrams.derivation.texts import characters, counted

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation import decomposition, factors
from heedful.ngrams.derivation.affinities import Affinity, affinity
from heedful.ngrams.derivation.factors import SharedFactors, factorised, frequency_weights
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


SHARED_TABLE, OTHER = counted(characters(6_000)), counted(characters(3_000))


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ranks that were decomposed for."""
    ranks: list[int] = []
    whole = factors.triplets_of

    def noted(matrix: object, rank: int, *rest: object) -> object:
        ranks.append(rank)
        return whole(matrix, rank, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(factors, "triplets_of", noted)
    return ranks


def test_a_smaller_rank_is_read_off_a_larger_one(worked_out: list[int]) -> None:
    matrix, weights, shared = (
        affinity("log_probability", SHARED_TABLE),
        frequency_weights(SHARED_TABLE),
        SharedFactors(1 << 30),
    )
    by_rank = {rank: factorised(matrix, rank, weights) for rank in (8, 3)}
    worked_out.clear()
    for rank in (8, 3, 8, 3):
        found, alone = shared.factors("log_probability", [SHARED_TABLE], matrix, rank, weights), by_rank[rank]
        np.testing.assert_array_equal(found.left, alone.left)
        np.testing.assert_array_equal(found.right, alone.right)
        assert found.report.asked == rank and found.report.energy == alone.report.energy
    assert worked_out == [8]
    shared.factors("log_probability", [SHARED_TABLE], matrix, 9, weights)
    assert worked_out == [8, 9]


def test_other_tables_names_and_weights_are_other_matrices(worked_out: list[int]) -> None:
    shared = SharedFactors(1 << 30)
    cases = (
        (SHARED_TABLE, "pmi", None),
        (OTHER, "pmi", None),
        (SHARED_TABLE, "ppmi", None),
        (SHARED_TABLE, "pmi", frequency_weights(SHARED_TABLE)),
    )
    alone = [factorised(affinity(name, table), 2, weights) for table, name, weights in cases]
    worked_out.clear()
    for (table, name, weights), one in zip(cases, alone, strict=True):
        found = shared.factors(name, [table], affinity(name, table), 2, weights)
        np.testing.assert_array_equal(found.left, one.left)
    assert worked_out == [2, 2, 2, 2]


def test_what_was_used_last_stays(worked_out: list[int]) -> None:
    matrices = {name: affinity(name, SHARED_TABLE) for name in ("pmi", "ppmi", "probability")}
    size = 2 * SHARED_TABLE.vocabulary**2 * 8
    shared = SharedFactors(2 * size)
    for name in ("pmi", "ppmi", "pmi", "probability", "pmi"):
        shared.factors(name, [SHARED_TABLE], matrices[name], 2, None)
    assert len(worked_out) == 3
    shared.factors("ppmi", [SHARED_TABLE], matrices["ppmi"], 2, None)
    assert len(worked_out) == 4


def test_without_room_nothing_is_kept(worked_out: list[int]) -> None:
    shared, matrix = SharedFactors(), affinity("pmi", SHARED_TABLE)
    for _ in range(2):
        shared.factors("pmi", [SHARED_TABLE], matrix, 2, None)
    assert worked_out == [2, 2]


def test_what_reads_embeddings_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    whole = factors.reader
    monkeypatch.setattr(factors, "reader", lambda name, *rest: asked.append(name) or whole(name, *rest))
    draw = np.random.default_rng(0)
    fed, other, factor = (draw.standard_normal((40, 6)) for _ in range(3))
    shared = SharedFactors(2 * fed.nbytes)
    for rows, name in ((fed, "transpose"), (other, "transpose"), (fed, "transpose")):
        np.testing.assert_array_equal(shared.reading(name, rows)(factor), rows.T @ factor)
    assert len(asked) == 2
    np.testing.assert_allclose(shared.reading("pseudo_inverse", fed)(factor), np.linalg.pinv(fed) @ factor)
    shared.reading("transpose", fed)
    assert len(asked) == 3
    shared.reading("transpose", other)
    assert len(asked) == 4
    SharedFactors().reading("transpose", fed)
    assert len(asked) == 5
