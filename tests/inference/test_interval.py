import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.inference.interval import Interval, bootstrap_t, clustered_t, student_t
from heedful.inference.units import document_means

NAN, INF = np.nan, np.inf
T_975_1, T_975_3 = 12.706204736432095, 3.182446305284263


def test_student_t_of_two_and_four_units():
    two = student_t([1.0, 3.0])
    assert (two.estimate, two.low, two.high) == pytest.approx((2.0, 2.0 - T_975_1, 2.0 + T_975_1))
    four = student_t([1.0, 1.0, 3.0, 3.0])
    assert four.high == pytest.approx(2.0 + T_975_3 * (4 / 3) ** 0.5 / 2)
    assert four.units == 4


def test_student_t_agrees_with_scipy():
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(0).exponential(size=(23, 4))
    ours = student_t(values, level=0.9)
    theirs = ttest_1samp(values, 0.0).confidence_interval(0.9)
    np.testing.assert_allclose((ours.low, ours.high), (theirs.low, theirs.high), rtol=1e-12)


@pytest.mark.parametrize("interval", [student_t, lambda x: bootstrap_t(x, seed=1)], ids=["student_t", "bootstrap_t"])
def test_degenerate_entries(interval):
    values = np.full((8, 4), 0.1)
    values[:, 1] = NAN
    values[1:, 2] = NAN
    values[3, 3] = INF
    found = interval(values)
    np.testing.assert_array_equal(found.estimate, [0.1, NAN, 0.1, NAN])
    np.testing.assert_array_equal(found.low, [0.1, NAN, NAN, NAN])
    np.testing.assert_array_equal(found.high, [0.1, NAN, NAN, NAN])
    np.testing.assert_array_equal(found.units, [8, 0, 1, 8])


def test_bootstrap_t_agrees_with_a_loop():
    values = np.random.default_rng(2).exponential(size=12)
    random = np.random.default_rng(9)
    error = np.std(values, ddof=1) / 12**0.5
    studentised = []
    for drawn in random.integers(12, size=(199, 12)):
        sample = values[drawn]
        studentised.append((sample.mean() - values.mean()) / (np.std(sample, ddof=1) / 12**0.5))
    studentised.sort()
    found = bootstrap_t(values, level=0.95, resamples=199, seed=9)
    assert found.low == pytest.approx(values.mean() - studentised[194] * error)
    assert found.high == pytest.approx(values.mean() - studentised[4] * error)


def test_an_entry_knows_nothing_of_its_neighbours():
    random = np.random.default_rng(4)
    values = random.normal(size=(20, 3, 2))
    values[random.random(values.shape) < 0.2] = NAN
    found = bootstrap_t(values, seed=7)
    for layer, head in np.ndindex(3, 2):
        kept = values[:, layer, head][~np.isnan(values[:, layer, head])]
        alone = bootstrap_t(kept, seed=7)
        one = found.at(layer, head)
        assert (one.low, one.estimate, one.high) == pytest.approx((alone.low, alone.estimate, alone.high))
        assert one.units == len(kept)


def test_chunks_of_entries_do_not_change_the_interval():
    values = np.random.default_rng(4).normal(size=(10, 300))
    found = bootstrap_t(values, resamples=99, seed=7)
    last = bootstrap_t(values[:, -1], resamples=99, seed=7)
    assert found.at(299).low == pytest.approx(last.low)


def test_memory_stays_small_for_many_heads():
    values = np.random.default_rng(4).normal(size=(64, 1000))
    tracemalloc.start()
    bootstrap_t(values, seed=7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_no_entries_give_no_intervals():
    assert bootstrap_t(np.zeros((5, 0)), seed=1).low.shape == (0,)


T_975 = {1: 12.706204736432095, 2: 4.302652729911275, 3: 3.182446305284263}


@pytest.mark.parametrize("differ", T_975)
@pytest.mark.parametrize(("usual", "other"), [(0.0, 1.0), (0.1, 0.7), (1e6 + 0.1, 1e6 + 0.3)])
def test_nearly_constant_units_are_bounded_by_students_t_of_those_that_differ(differ, usual, other):
    values = np.full(64, usual)
    values[:differ] = other
    found = bootstrap_t(values, seed=1)
    half = T_975[differ] * np.std(values, ddof=1) / 8
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-6)


def test_two_units_are_bounded_as_student_bounds_them():
    assert bootstrap_t([0.0, 1.0], seed=1).high == pytest.approx(0.5 + T_975[1] / 2)


def test_rare_differences_between_documents_are_covered():
    """Units that are 0 but for one in sixteen: Student's t with all degrees of freedom covers 87 %."""
    random = np.random.default_rng(5)
    values = (random.random((64, 600)) < 1 / 16) * (1 + 0.3 * random.standard_normal((64, 600)))
    ours, students = bootstrap_t(values, resamples=999, seed=1), student_t(values)
    covered, less = (np.mean((i.low <= 1 / 16) & (i.high >= 1 / 16)) for i in (ours, students))
    assert covered > 0.95 and less < 0.93 and np.isfinite(ours.high).all()


def test_wider_levels_contain_narrower_ones():
    values = np.random.default_rng(1).exponential(size=30)
    narrow, wide = (bootstrap_t(values, level=level, seed=1) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high


def test_skew_moves_the_interval_towards_the_long_tail():
    values = np.random.default_rng(1).exponential(size=30)
    found = bootstrap_t(values, seed=1)
    assert found.high - found.estimate > found.estimate - found.low


@settings(deadline=None, max_examples=40)
@given(shift=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), flip=st.booleans())
def test_shift_and_scale_carry_over(shift, scale, flip):
    values = np.random.default_rng(6).exponential(size=18)
    factor = -scale if flip else scale
    for interval in (student_t, lambda x: bootstrap_t(x, resamples=199, seed=3)):
        plain, moved = interval(values), interval(factor * values + shift)
        bounds = sorted((factor * plain.low + shift, factor * plain.high + shift))
        tolerance = 1e-9 * (abs(shift) + scale)
        assert (moved.low, moved.high) == pytest.approx(bounds, abs=tolerance)


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(16)))
def test_the_order_of_units_matters_only_to_the_draws(order):
    values = np.random.default_rng(8).normal(size=16)
    plain, moved = student_t(values), student_t(values[order])
    assert (moved.low, moved.high) == pytest.approx((plain.low, plain.high))
    first, second = bootstrap_t(values, seed=1), bootstrap_t(values[order], seed=1)
    assert second.estimate == pytest.approx(first.estimate)
    assert abs(second.low - first.low) < 0.25 * (first.high - first.low)


def test_the_seed_settles_everything():
    values = np.random.default_rng(8).normal(size=(16, 2))
    first, same, other = (bootstrap_t(values, resamples=99, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.low, same.low)
    assert (first.low != other.low).all()


def test_clustered_t_is_student_t_of_means_when_documents_are_equal():
    values, document = np.random.default_rng(3).normal(size=(24, 2)), np.repeat(np.arange(6), 4)
    clustered, means = clustered_t(values, document), student_t(document_means(values, document))
    for name in ("estimate", "low", "high", "units"):
        np.testing.assert_allclose(getattr(clustered, name), getattr(means, name), rtol=1e-12)


def test_clustered_t_agrees_with_its_formula():
    from scipy.stats import t

    values, document = [1.0, 2.0, 4.0, 9.0, NAN, 3.0], [0, 0, 1, 2, 2, 3]
    mean = 19 / 5
    sums = [(1 - mean) + (2 - mean), 4 - mean, 9 - mean, 3 - mean]
    error = (4 / 3 * sum(s**2 for s in sums)) ** 0.5 / 5
    found = clustered_t(values, document)
    assert (found.estimate, found.units) == (pytest.approx(mean), 4)
    assert found.high == pytest.approx(mean + t.ppf(0.975, 3) * error)


def test_clustered_t_without_enough_documents():
    found = clustered_t([[1.0, NAN], [2.0, NAN]], [0, 0])
    np.testing.assert_array_equal(found.low, [NAN, NAN])
    np.testing.assert_array_equal(found.units, [1, 0])


def test_one_entry_wants_one_index_an_axis():
    interval = Interval(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3)), np.full((2, 3), 9), 0.95)
    assert interval.at(1, 2) == Interval(0.0, 0.0, 0.0, 9, 0.95)
    with pytest.raises(ValueError, match="expected 2 indices"):
        interval.at(1)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, NAN])
def test_a_level_is_a_rate(level):
    for interval in (student_t, lambda x, level: bootstrap_t(x, level=level, seed=1)):
        with pytest.raises(ValueError, match="level between 0 and 1"):
            interval([1.0, 2.0], level=level)
    with pytest.raises(ValueError, match="level between 0 and 1"):
        clustered_t([1.0, 2.0], [0, 1], level=level)


def test_too_few_resamples_for_the_level():
    with pytest.raises(ValueError, match="more than 39 resamples"):
        bootstrap_t([1.0, 2.0], resamples=38, seed=1)
    assert bootstrap_t([1.0, 2.0, 3.0, 5.0], resamples=39, seed=1).low < 2.75


def coverage(interval, truth=0.0):
    return float(np.mean((interval.low <= truth) & (truth <= interval.high)))


def skewed(random, shape, sigma):
    """Log-normal units of mean zero: skewness 1.75 at sigma 0.5, 6.2 at sigma 1."""
    return random.lognormal(0.0, sigma, size=shape) - np.exp(sigma**2 / 2)


@pytest.mark.slow
@pytest.mark.parametrize("units", [16, 32, 64])
def test_coverage_of_normal_units(units):
    values = np.random.default_rng(units).normal(size=(units, 4000))
    assert 0.935 <= coverage(bootstrap_t(values, seed=1)) <= 0.965
    assert 0.94 <= coverage(student_t(values)) <= 0.96


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "sigma", "least"), [(16, 0.5, 0.93), (64, 0.5, 0.93), (32, 1.0, 0.90), (64, 1.0, 0.92)]
)
def test_coverage_of_skewed_units(units, sigma, least):
    values = skewed(np.random.default_rng(units), (units, 4000), sigma)
    studentised, student = coverage(bootstrap_t(values, seed=1)), coverage(student_t(values))
    assert least <= studentised <= 0.965
    assert studentised > student - 0.003
    assert sigma < 1.0 or studentised > student + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.0, 0.5], ids=["normal", "skewed"])
def test_sequences_are_not_units_but_documents_are(sigma):
    random, repetitions = np.random.default_rng(0), 2000
    documents, sequences, shared = 32, 4, 0.3
    draw = (lambda shape: skewed(random, shape, sigma)) if sigma else (lambda shape: random.normal(size=shape))
    spread = np.sqrt(np.exp(sigma**2) * (np.exp(sigma**2) - 1)) if sigma else 1.0
    common = draw((documents, 1, repetitions)) * shared**0.5 / spread
    values = common + random.normal(size=(documents, sequences, repetitions)) * (1 - shared) ** 0.5
    values = values.reshape(-1, repetitions)
    document = np.repeat(np.arange(documents), sequences)
    assert coverage(bootstrap_t(values, seed=1)) < 0.88
    assert 0.93 <= coverage(bootstrap_t(document_means(values, document), seed=1)) <= 0.965
    assert 0.93 <= coverage(clustered_t(values, document)) <= 0.965


@pytest.mark.slow
def test_clustered_t_covers_with_documents_of_unequal_length():
    random, repetitions = np.random.default_rng(1), 2000
    document = np.repeat(np.arange(48), np.tile([1, 2, 3, 6], 12))
    common = random.normal(size=(48, repetitions))[document] * 0.3**0.5
    values = common + random.normal(size=(len(document), repetitions)) * 0.7**0.5
    assert 0.925 <= coverage(clustered_t(values, document)) <= 0.965
    assert coverage(student_t(values)) < 0.88
