"""Means and maxima over what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.inference.units import (
    document_means,
    largest_of,
    mean_and_spread,
    mean_of,
    resample_counts,
    without_rounding,
)

NAN, INF = np.nan, np.inf


def test_documents_weigh_the_same_whatever_their_length():
    means = document_means([1.0, 2.0, 3.0, 10.0], [0, 0, 0, 1])
    np.testing.assert_array_equal(means, [2.0, 10.0])


def test_missing_sequences_are_ignored_entry_by_entry():
    values = [[1.0, NAN], [3.0, 5.0], [NAN, NAN], [7.0, NAN]]
    np.testing.assert_array_equal(document_means(values, [0, 0, 1, 1]), [[2.0, 5.0], [7.0, NAN]])


def test_an_infinite_sequence_is_not_forgotten():
    means = document_means([INF, 1.0, INF, -INF, 2.0], [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(means, [INF, NAN, 2.0])


def test_documents_come_in_the_order_of_their_sorted_labels():
    np.testing.assert_array_equal(document_means([1.0, 2.0, 3.0], ["b", "a", "b"]), [2.0, 2.0])
    np.testing.assert_array_equal(document_means([1.0, 2.0, 4.0], [7, 3, 5]), [2.0, 4.0, 1.0])


def test_document_means_agree_with_a_loop():
    random = np.random.default_rng(0)
    values = random.normal(size=(40, 3, 2))
    values[random.random(values.shape) < 0.3] = NAN
    document = random.integers(6, size=40)
    expected = [
        [[_mean([values[s, i, j] for s in range(40) if document[s] == g]) for j in range(2)] for i in range(3)]
        for g in sorted(set(document.tolist()))
    ]
    np.testing.assert_allclose(document_means(values, document), expected, rtol=1e-12)


@given(st.permutations(range(9)))
def test_the_order_of_sequences_does_not_matter(order):
    values, document = np.arange(9.0) ** 2, np.array([0, 0, 1, 1, 1, 2, 3, 3, 3])
    np.testing.assert_allclose(document_means(values[order], document[order]), document_means(values, document))


@pytest.mark.parametrize("document", [[0, 1], [[0], [1], [2]], 0])
def test_a_label_is_wanted_for_each_sequence(document):
    with pytest.raises(ValueError, match="one document label for each of 3 sequences"):
        document_means([1.0, 2.0, 3.0], document)


@pytest.mark.parametrize("values", [3.0, [], np.zeros((0, 4))])
def test_no_unit_is_an_error(values):
    with pytest.raises(ValueError, match="at least one unit"):
        mean_and_spread(values)


def test_spread_of_known_values():
    mean, spread, units = mean_and_spread([[1.0, 5.0, NAN, 1.0, NAN], [3.0, 5.0, NAN, INF, 2.0]])
    np.testing.assert_array_equal(mean, [2.0, 5.0, NAN, NAN, 2.0])
    np.testing.assert_allclose(spread, [2**0.5, 0.0, NAN, NAN, NAN])
    np.testing.assert_array_equal(units, [2, 2, 0, 2, 1])


@pytest.mark.parametrize("value", [0.1, 1 / 3, -1e300, 5e-324])
def test_a_constant_has_no_spread_at_all(value):
    mean, spread, _ = mean_and_spread(np.full(64, value))
    assert (mean, spread) == (value, 0.0)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_spread_neither_underflows_nor_overflows(scale):
    values = np.random.default_rng(3).normal(size=20)
    assert mean_and_spread(scale * values)[1] == pytest.approx(scale * np.std(values, ddof=1), rel=1e-12)


def test_resamples_draw_as_many_units_as_there_are():
    counts = np.concatenate(list(resample_counts(7, 500, seed=1)))
    assert counts.shape == (500, 7)
    np.testing.assert_array_equal(counts.sum(axis=1), 7)
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.2)


def test_blocks_do_not_change_the_draws():
    whole = np.random.default_rng(5).integers(3000, size=(400, 3000))
    blocks = list(resample_counts(3000, 400, seed=5))
    assert len(blocks) > 1
    expected = np.stack([np.bincount(row, minlength=3000) for row in whole])
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def _mean(values):
    kept = [v for v in values if not np.isnan(v)]
    return sum(kept) / len(kept) if kept else NAN


MISSING_NAN, MISSING_INF = math.nan, math.inf


def test_means_pass_over_what_is_not_finite_and_stay_silent() -> None:
    values = np.array([[1.0, MISSING_NAN, MISSING_INF], [3.0, MISSING_NAN, 5.0]])
    np.testing.assert_array_equal(mean_of(values, axis=0), [2.0, MISSING_NAN, 5.0])
    np.testing.assert_array_equal(mean_of(values, axis=1), [1.0, 4.0])
    assert float(mean_of(values)) == 3.0
    assert np.isnan(mean_of(np.array([MISSING_NAN])))


@pytest.mark.parametrize(
    ("values", "largest"),
    [
        ([1.0, MISSING_NAN, 3.0], 3.0),
        ([MISSING_NAN], MISSING_NAN),
        ([], MISSING_NAN),
        ([1.0, MISSING_INF], MISSING_INF),
        ([-MISSING_INF], -MISSING_INF),
    ],
)
def test_the_largest_of_what_is_there(values: list[float], largest: float) -> None:
    assert largest_of(np.array(values)) == pytest.approx(largest, nan_ok=True)


def test_rounding_between_units_is_taken_out_and_nothing_else() -> None:
    units = np.array(
        [
            [0.0, 100.0, 0.0, 1.0, MISSING_NAN, MISSING_NAN],
            [2e-7, 100.00002, 0.0, 1.1, 3.0, MISSING_NAN],
            [0.0, 100.0, 9e-6, 1, 3, MISSING_NAN],
        ]
    )
    found = without_rounding(units)
    assert np.ptp(found[:, :2], axis=0).tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(found[:, 2:], units[:, 2:])
    np.testing.assert_array_equal(without_rounding(np.array([MISSING_INF, 1.0, 1.0])), [MISSING_INF, 1.0, 1.0])
