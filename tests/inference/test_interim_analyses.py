import numpy as np
import pytest
from scipy.stats import norm

from heedful.inference.interim_analyses import obrien_fleming, repeated_interval, repeated_p
from heedful.inference.interval import student_t

DOUBLING = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


def test_one_look_is_students_interval():
    assert obrien_fleming((1.0,)) == pytest.approx(norm.ppf(0.975), abs=1e-4)
    half = np.random.default_rng(0).normal(size=(10, 3))
    values = np.concatenate([half, 1.0 - half])  # no skew
    looked, plain = repeated_interval(values, 0, (1.0,)), student_t(values)
    np.testing.assert_allclose((looked.low, looked.high), (plain.low, plain.high), atol=1e-4)


def test_published_constants():
    """Equal spacing of two and five looks: Jennison and Turnbull 1999, table 2.3."""
    assert obrien_fleming((0.5, 1.0)) == pytest.approx(1.977, abs=2e-3)
    assert obrien_fleming((0.2, 0.4, 0.6, 0.8, 1.0)) == pytest.approx(2.040, abs=2e-3)


def test_the_error_over_all_looks_is_held_and_naive_looks_break_it():
    values = np.random.default_rng(1).normal(size=(256, 4000))
    looks = [int(f * 256) for f in DOUBLING]
    left = np.zeros(4000, dtype=bool)
    naive = left.copy()
    for look, n in enumerate(looks):
        for found, interval in ((left, repeated_interval(values[:n], look, DOUBLING)), (naive, student_t(values[:n]))):
            found |= (interval.low > 0) | (interval.high < 0)
    assert 0.038 < left.mean() < 0.062 and naive.mean() > 0.12


def test_p_is_small_exactly_where_the_interval_leaves_zero():
    random = np.random.default_rng(2)
    for look, n in enumerate((16, 32, 64, 128, 256)):
        values = random.normal(0.25, 1.0, size=n)
        interval = repeated_interval(values, look, DOUBLING)
        assert (repeated_p(values, look, DOUBLING) <= 0.05) == bool(interval.low > 0 or interval.high < 0)


def test_undefined_and_senseless_looks():
    assert np.isnan(repeated_p([1.0], 0, (1.0,))) and np.isnan(repeated_p([1.0, 1.0], 0, (1.0,)))
    for wrong in ((), (0.5,), (0.5, 0.5, 1.0), (0.0, 1.0)):
        with pytest.raises(ValueError, match="increase to 1"):
            obrien_fleming(wrong)
