"""Student's interval with an allowance for skew: closed forms, Johnson's own t, and what it is for."""

import math

import numpy as np
import pytest
from scipy.stats import skew, t, ttest_1samp

from heedful.inference.interim_analyses import repeated_interval, repeated_p
from heedful.inference.interval import bootstrap_t, student_t
from heedful.inference.skewness import above_p, reach, skew_p, skew_t, units_for


def lognormal(units: int, samples: int, seed: int) -> np.ndarray:
    """Units of mean 0 and skew 6.2."""
    return np.exp(np.random.default_rng(seed).standard_normal((units, samples))) - math.exp(0.5)


def johnsons_t(values: np.ndarray, mean: float, times: float) -> float:
    """Johnson 1978, with his term taken several times, from raw moments."""
    units, third = len(values), np.mean((values - values.mean()) ** 3)
    variance = values.var()
    error = values.std(ddof=1) / math.sqrt(units)
    off = (values.mean() - mean) / error
    return off + times * third / variance**1.5 / (6 * math.sqrt(units)) * (1 + 2 * off**2)


def test_without_skew_it_is_students():
    values = np.array([-3.0, -1.0, -0.5, 0.5, 1.0, 3.0]) + 0.25
    ours, plain = skew_t(values), student_t(values)
    assert (ours.low, ours.estimate, ours.high) == pytest.approx((plain.low, 0.25, plain.high))
    assert skew_p(values) == pytest.approx(float(ttest_1samp(values, 0.0).pvalue))


def test_one_unit_in_four_by_hand():
    """Values 0, 0, 0, 4: mean 1, sd 2, standard error 1, skewness 2 / sqrt(3)."""
    found, quantile = skew_t([0.0, 0.0, 0.0, 4.0]), float(t.isf(0.025, 3))
    allowance = (1 + 24 / 2) * (2 / math.sqrt(3)) / (6 * 2)
    assert found.low == pytest.approx(1 - quantile)
    assert found.high == pytest.approx(1 + quantile + allowance * (1 + 2 * quantile**2))


def test_the_long_side_is_johnsons_correction_to_first_order():
    """At a small term, his t at the bound is Student's quantile; the other side stays Student's."""
    values = np.random.default_rng(4).gamma(4.0, size=4000)
    found, times = skew_t(values), 1 + 24 / math.sqrt(4000)
    assert skew(values) > 0.8
    assert johnsons_t(values, float(found.high), times) == pytest.approx(-t.isf(0.025, 3999), abs=0.02)
    assert johnsons_t(values, float(found.high), 0.0) < -t.isf(0.025, 3999) - 0.02
    assert found.low == pytest.approx(student_t(values).low)


def test_mirrored_values_have_the_mirrored_interval_and_the_same_p():
    values = lognormal(20, 1, 0)[:, 0] + 0.7
    ours, mirrored = skew_t(values), skew_t(-values)
    assert (mirrored.low, mirrored.high) == pytest.approx((-ours.high, -ours.low))
    assert skew_p(values) == pytest.approx(skew_p(-values))


@pytest.mark.parametrize("shift", [-0.6, 0.0, 0.6])
def test_p_is_the_level_whose_interval_reaches_zero(shift):
    for seed in range(5):
        values = lognormal(25, 1, seed)[:, 0] + shift
        p = skew_p(values)
        found = skew_t(values, level=1 - p) if p < 1 else skew_t(values, level=1e-9)
        nearest = float(found.low if found.estimate > 0 else found.high)
        assert nearest == pytest.approx(0.0, abs=1e-6) if p < 1 else nearest * float(found.estimate) <= 0
        assert repeated_p(values, 0, (1.0,)) == pytest.approx(p, rel=1e-6)


def test_one_look_at_everything_is_this_interval():
    values = lognormal(32, 3, 1)
    looked, whole = repeated_interval(values, 0, (1.0,)), skew_t(values)
    np.testing.assert_allclose((looked.low, looked.high), (whole.low, whole.high), rtol=1e-4)


@pytest.mark.parametrize("units", [16, 64, 256])
def test_too_small_an_upper_bound_is_as_rare_as_promised_where_students_and_the_bootstraps_are_not(units):
    values = lognormal(units, 4000, units)
    missed = np.mean(np.asarray(skew_t(values).high) < 0)
    assert 0.012 < missed < 0.034
    assert np.mean(np.asarray(student_t(values).high) < 0) > 0.048
    assert np.mean(np.asarray(bootstrap_t(values[:, :1500], resamples=399, seed=0).high) < 0) > missed
    assert np.mean(np.asarray(skew_t(values).low) > 0) < 0.025


def test_a_missing_unit_is_dropped_entry_by_entry():
    values = lognormal(12, 2, 3)
    with_gap = np.vstack([values, [[math.nan, 2.0]]])
    assert skew_t(with_gap).at(0).high == pytest.approx(skew_t(values[:, 0]).high)
    assert skew_t(with_gap).at(1).high == pytest.approx(skew_t(with_gap[:, 1]).high)


def test_undefined_and_constant_units():
    assert math.isnan(float(skew_t([1.0]).high)) and math.isnan(float(skew_t([1.0, math.inf, 2.0]).low))
    assert math.isnan(skew_p([1.0])) and math.isnan(skew_p([2.0, 2.0, 2.0]))
    constant = skew_t([2.0, 2.0, 2.0])
    assert (constant.low, constant.high) == (2.0, 2.0)
    assert skew_t([1.0, 2.0]).high == pytest.approx(student_t([1.0, 2.0]).high)
    with pytest.raises(ValueError, match="between 0 and 1"):
        skew_t([1.0, 2.0], level=1.0)


def _tails(shape: tuple[int, int]) -> np.ndarray:
    return math.exp(0.5) - np.random.default_rng(3).lognormal(0, 1, shape)


@pytest.mark.parametrize("count", [16, 64])
def test_a_family_at_its_margin_is_held_far_out_in_the_tail(count: int) -> None:
    """270 entries of skew 6 with their mean at the margin; sign flips reject all such families."""
    trials, heads = 150, 270
    p = above_p(0.4 + _tails((count, trials * heads)), 0.4).reshape(trials, heads)
    rejected = float((p.min(axis=1) * heads <= 0.05).mean())
    assert rejected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    plain = skew_t(_tails((count, 30 * heads))).low.reshape(30, heads)
    assert (plain > 0).any(axis=1).mean() > 0.9


def test_p_above_a_margin_follows_the_side_and_the_equal_units() -> None:
    values = np.stack(
        [np.full(20, 0.5), np.full(20, 0.3), np.linspace(0.3, 0.7, 20), np.linspace(0.0, 0.4, 20)], axis=1
    )
    p = above_p(values, 0.4)
    assert p[0] == 0.5**20 and p[1] == 1.0 and p[2] < 0.05 and p[3] > 0.99
    assert np.isnan(above_p(values[:1], 0.4)[2])
    assert above_p(values[:, 2], 0.5) == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize(("count", "heads"), [(16, 12), (64, 12), (64, 270)])
def test_the_detectable_effect_is_found_as_often_as_is_said(count: int, heads: int) -> None:
    effect = float(reach(count, heads)) / math.sqrt(count)
    values = effect + np.random.default_rng(5).standard_normal((count, 3000))
    found = float((above_p(values) * heads <= 0.05).mean())
    assert 0.72 < found < 0.9
    assert units_for(effect, heads) == pytest.approx(count, abs=1 + 0.01 * count)
    assert units_for(0.0) == units_for(math.nan) == math.inf
