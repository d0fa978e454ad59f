"""Means and maxima over what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heedful.evaluation.missing import largest_of, mean_of, without_rounding

NAN, INF = math.nan, math.inf


def test_means_pass_over_what_is_not_finite_and_stay_silent() -> None:
    values = np.array([[1.0, NAN, INF], [3.0, NAN, 5.0]])
    np.testing.assert_array_equal(mean_of(values, axis=0), [2.0, NAN, 5.0])
    np.testing.assert_array_equal(mean_of(values, axis=1), [1.0, 4.0])
    assert float(mean_of(values)) == 3.0
    assert np.isnan(mean_of(np.array([NAN])))


@pytest.mark.parametrize(
    ("values", "largest"), [([1.0, NAN, 3.0], 3.0), ([NAN], NAN), ([], NAN), ([1.0, INF], INF), ([-INF], -INF)]
)
def test_the_largest_of_what_is_there(values: list[float], largest: float) -> None:
    assert largest_of(np.array(values)) == pytest.approx(largest, nan_ok=True)


def test_rounding_between_units_is_taken_out_and_nothing_else() -> None:
    units = np.array(
        [[0.0, 100.0, 0.0, 1.0, NAN, NAN], [2e-7, 100.00002, 0.0, 1.1, 3.0, NAN], [0.0, 100.0, 9e-6, 1, 3, NAN]]
    )
    found = without_rounding(units)
    assert np.ptp(found[:, :2], axis=0).tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(found[:, 2:], units[:, 2:])
    np.testing.assert_array_equal(without_rounding(np.array([INF, 1.0, 1.0])), [INF, 1.0, 1.0])
