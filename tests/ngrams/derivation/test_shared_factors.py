"""Shared decompositions: worked out once, the same as alone, and no more of them than fit."""

from __future__ import annotations

import numpy as np
import pytest
from tests.ngrams.derivation.texts import characters, counted

from heedful.ngrams.derivation import shared_factors
from heedful.ngrams.derivation.affinities import affinity
from heedful.ngrams.derivation.factors import factorised, frequency_weights
from heedful.ngrams.derivation.shared_factors import SharedFactors

TABLE, OTHER = counted(characters(6_000)), counted(characters(3_000))


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ranks that were decomposed for."""
    ranks: list[int] = []
    whole = shared_factors.triplets_of

    def noted(matrix: object, rank: int, *rest: object) -> object:
        ranks.append(rank)
        return whole(matrix, rank, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(shared_factors, "triplets_of", noted)
    return ranks


def test_a_smaller_rank_is_read_off_a_larger_one(worked_out: list[int]) -> None:
    matrix, weights, shared = affinity("log_probability", TABLE), frequency_weights(TABLE), SharedFactors(1 << 30)
    for rank in (8, 3, 8, 3):
        found = shared.factors("log_probability", [TABLE], matrix, rank, weights)
        alone = factorised(matrix, rank, weights)
        np.testing.assert_array_equal(found.left, alone.left)
        np.testing.assert_array_equal(found.right, alone.right)
        assert found.report.asked == rank and found.report.energy == alone.report.energy
    assert worked_out == [8]
    shared.factors("log_probability", [TABLE], matrix, 9, weights)
    assert worked_out == [8, 9]


def test_other_tables_names_and_weights_are_other_matrices(worked_out: list[int]) -> None:
    shared = SharedFactors(1 << 30)
    for table, name, weights in (
        (TABLE, "pmi", None),
        (OTHER, "pmi", None),
        (TABLE, "ppmi", None),
        (TABLE, "pmi", frequency_weights(TABLE)),
    ):
        found = shared.factors(name, [table], affinity(name, table), 2, weights)
        np.testing.assert_array_equal(found.left, factorised(affinity(name, table), 2, weights).left)
    assert worked_out == [2, 2, 2, 2]


def test_what_was_used_last_stays(worked_out: list[int]) -> None:
    matrices = {name: affinity(name, TABLE) for name in ("pmi", "ppmi", "probability")}
    size = 2 * TABLE.vocabulary**2 * 8
    shared = SharedFactors(2 * size)
    for name in ("pmi", "ppmi", "pmi", "probability", "pmi"):
        shared.factors(name, [TABLE], matrices[name], 2, None)
    assert len(worked_out) == 3
    shared.factors("ppmi", [TABLE], matrices["ppmi"], 2, None)
    assert len(worked_out) == 4


def test_without_room_nothing_is_kept(worked_out: list[int]) -> None:
    shared, matrix = SharedFactors(), affinity("pmi", TABLE)
    for _ in range(2):
        shared.factors("pmi", [TABLE], matrix, 2, None)
    assert worked_out == [2, 2]


def test_what_reads_embeddings_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    whole = shared_factors.reader
    monkeypatch.setattr(shared_factors, "reader", lambda name, *rest: asked.append(name) or whole(name, *rest))
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
