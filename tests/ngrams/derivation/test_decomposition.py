"""Large decompositions: no value is missed where many are equal, and what is left open is told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from heedful.ngrams.derivation import decomposition
from heedful.ngrams.derivation.affinities import Affinity, affinity
from heedful.ngrams.derivation.decomposition import Triplets, decomposed
from heedful.ngrams.derivation.factors import factorised
from heedful.ngrams.derivation.table import NgramTable

PARTS, SIDE, WANTED = 60, 4, 20


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decomposition, "SMALL", 0)


def in_parts() -> NgramTable:
    """Counts of 60 groups of 4 tokens that only follow one another, and of one group of 300."""
    draw = np.random.default_rng(0)
    groups = [sparse.csr_array(draw.integers(1, 9, (SIDE, SIDE)).astype(float)) for _ in range(PARTS)]
    large = draw.integers(1, 9, (300, 300)) * (draw.random((300, 300)) < 0.05) + np.eye(300)
    counts = sparse.block_diag([*groups, sparse.csr_array(large)], format="csr")
    return NgramTable(np.arange(counts.shape[0])[:, None], sparse.csr_array(counts))


def dense_values(matrix: Affinity) -> np.ndarray:
    rows, columns = (np.arange(size) for size in matrix.shape)
    return np.asarray(np.linalg.svd(matrix.at(rows, columns), compute_uv=False))


def rotated(values: np.ndarray, rows: int) -> Affinity:
    """A matrix of these singular values, all of whose rows and columns hang together."""
    draw = np.random.default_rng(1)
    left, right = (np.linalg.qr(draw.standard_normal((size, len(values))))[0] for size in (rows, len(values)))
    return Affinity.of(sparse.csr_array(left * values @ right.T))


def check(matrix: Affinity, found: Triplets, within: float) -> None:
    values = dense_values(matrix)[: len(found.values)]
    np.testing.assert_allclose(found.values, values, atol=within * values[0])
    assert (np.diff(found.values) <= 0).all()
    for side in (found.left, found.right):
        np.testing.assert_allclose(side.T @ side, np.eye(len(found.values)), atol=1e-9)
    rows, columns = (np.arange(size) for size in matrix.shape)
    whole = matrix.at(rows, columns)
    np.testing.assert_allclose(whole @ found.right, found.left * found.values, atol=within * values[0])
    np.testing.assert_allclose(whole.T @ found.left, found.right * found.values, atol=within * values[0])


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("name", ["normalised", "probability", "residual", "log_probability"])
def test_equal_values_of_parts_are_all_found(name: str) -> None:
    matrix = affinity(name, in_parts())
    check(matrix, decomposed(matrix, WANTED, 0), 1e-8)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("name", ["normalised", "residual"])
def test_components_that_are_not_separated_are_told(name: str) -> None:
    report = factorised(affinity(name, in_parts()), WANTED).report
    assert report.parts == PARTS + 1
    assert (report.tied, report.following) == (WANTED, pytest.approx(1.0))
    assert report.residual < 1e-8 and report.orthogonality < 1e-9
    assert f"components 1 to {WANTED} have" in report.note and "any of that value" in report.note
    assert f"{PARTS + 1} parts" in report.note


@pytest.mark.usefixtures("everything_is_large")
def test_separated_components_leave_nothing_to_tell() -> None:
    report = factorised(rotated(np.linspace(2, 1, 80), 90), 5).report
    assert (report.tied, report.note) == (0, "")
    assert report.following == pytest.approx(np.linspace(2, 1, 80)[5])


@pytest.mark.usefixtures("everything_is_large")
def test_of_equal_values_those_of_the_larger_part_come_first() -> None:
    found = decomposed(affinity("normalised", in_parts()), WANTED, 0)
    assert np.abs(found.left[-300:, 0]).sum() > 0
    assert not found.left[:-300, 0].any()
    again = decomposed(affinity("normalised", in_parts()), WANTED, 7)
    np.testing.assert_allclose(np.abs(again.left), np.abs(found.left), atol=1e-6)


@pytest.mark.usefixtures("everything_is_large")
def test_equal_values_of_one_part_are_all_found() -> None:
    matrix = rotated(np.concatenate([np.ones(40), np.linspace(0.9, 0.1, 260)]), 320)
    check(matrix, decomposed(matrix, WANTED, 0), 1e-4)


def test_a_value_that_was_missed_is_seen() -> None:
    matrix = rotated(np.linspace(2, 1, 80), 90)
    rows, columns = np.arange(90), np.arange(80)
    left, values, right = np.linalg.svd(matrix.at(rows, columns), full_matrices=False)
    start = np.random.default_rng(0).standard_normal(80)
    for missed in (3, 5):
        kept = [place for place in range(6) if place != missed]
        found = Triplets(left[:, kept], values[kept], right.T[:, kept])
        left_over = decomposition._largest_left(matrix, found, start)
        assert left_over == pytest.approx(values[missed], rel=1e-3)


def test_parts_and_low_rank_that_share_nothing_are_not_taken_for_one_another() -> None:
    matrix = affinity("log_probability", in_parts())
    assert not decomposition._is_within(matrix)
    assert decomposition._is_within(affinity("residual", in_parts()))
