"""Affinities against dense arithmetic written out, and the facts that hold for any counts."""

from __future__ import annotations

import numpy as np
import pytest
from tests.ngrams.derivation.texts import characters, counted

from heedful.errors import UsageError
from heedful.ngrams.derivation.affinities import AFFINITIES, affinity, stacked
from heedful.ngrams.derivation.table import NgramTable

TEXT = characters(3_000)


def whole(name: str, table: NgramTable) -> np.ndarray:
    rows, columns = (np.arange(size) for size in table.counts.shape)
    return affinity(name, table).at(rows, columns)


@pytest.fixture(scope="module", params=[(1, None), (2, None), (1, 200)], ids=["tokens", "pairs", "unseen tokens"])
def table(request: pytest.FixtureRequest) -> NgramTable:
    length, vocabulary = request.param
    return counted(TEXT, length, vocabulary=vocabulary)


def test_dense_arithmetic_agrees(table: NgramTable) -> None:
    counts = table.counts.toarray()
    row, column, size = counts.sum(1, keepdims=True), counts.sum(0), counts.shape[1]
    safe_row, safe_column = np.where(row > 0, row, 1), np.where(column > 0, column, 1)
    unigram = (column + 1) / (counts.sum() + size)
    smoothed = np.log((counts + 1) / (row + size))
    mean_row, mean_column = counts.sum() / (row > 0).sum(), counts.sum() / (column > 0).sum()
    with np.errstate(divide="ignore"):
        information = np.log(counts * counts.sum() / (safe_row * safe_column))
    wanted = {
        "normalised": counts / np.sqrt(safe_row * safe_column),
        "degree_regularised": counts / np.sqrt((row + mean_row) * (column + mean_column)),
        "residual": counts / np.sqrt(safe_row * safe_column) - np.sqrt(row * column) / counts.sum(),
        "probability": counts / safe_row,
        "sqrt_probability": np.sqrt(counts / safe_row),
        "pmi": smoothed - np.log(unigram),
        "ppmi": np.where(counts > 0, np.maximum(information, 0), 0),
        "log_probability": smoothed,
        "log_ratio": np.log1p(counts / unigram),
        "log_probability_backoff": np.log((counts + unigram) / (row + 1)),
    }
    if table.length == 1:
        wanted["symmetrised"] = (wanted["normalised"] + wanted["normalised"].T) / 2
    assert set(wanted) | {"symmetrised"} == set(AFFINITIES)
    for name, dense in wanted.items():
        np.testing.assert_allclose(whole(name, table), dense, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", sorted(AFFINITIES))
def test_products_and_norms_are_those_of_the_dense_matrix(name: str) -> None:
    table = counted(TEXT)
    matrix, dense = affinity(name, table), whole(name, table)
    rng = np.random.default_rng(0)
    row, column = rng.uniform(0.5, 2, dense.shape[0]), rng.uniform(0.5, 2, dense.shape[1])
    weighed = row[:, None] * dense * column
    operator = matrix.operator(row, column)
    np.testing.assert_allclose(operator @ np.eye(dense.shape[1]), weighed, atol=1e-10)
    np.testing.assert_allclose(operator.adjoint() @ np.eye(dense.shape[0]), weighed.T, atol=1e-10)
    assert matrix.squared_norm(row, column) == pytest.approx((weighed**2).sum())


def test_matrices_are_stacked() -> None:
    first, second = (affinity(name, counted(TEXT)) for name in ("log_probability_backoff", "residual"))
    both, columns = stacked([first, second]), np.arange(first.shape[1])
    np.testing.assert_allclose(
        both.at(np.arange(both.shape[0]), columns),
        np.concatenate([part.at(np.arange(part.shape[0]), columns) for part in (first, second)]),
        atol=1e-12,
    )


def test_probabilities_sum_to_one(table: NgramTable) -> None:
    seen = table.row_sums > 0
    for name in ("log_probability", "log_probability_backoff"):
        np.testing.assert_allclose(np.exp(whole(name, table)).sum(1), 1.0)
    np.testing.assert_allclose(whole("probability", table)[seen].sum(1), 1.0)


def test_a_name_that_is_not_known_is_answered_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="'cosine' is not known; one of: normalised"):
        affinity("cosine", counted(TEXT))


def test_pairs_cannot_be_symmetrised() -> None:
    with pytest.raises(UsageError, match="contexts of 1 token; these have 2"):
        affinity("symmetrised", counted(TEXT, 2))
