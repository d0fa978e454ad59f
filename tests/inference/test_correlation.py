import numpy as np
import pytest
from scipy.stats import spearmanr

from heedful.inference.correlation import spearman_of_units, spearman_over_units

NAN = np.nan


def noisy(means, units, noise, seed):
    return np.asarray(means) + noise * np.random.default_rng(seed).normal(size=(units, len(means)))


def test_a_monotone_relation_is_one_or_minus_one():
    x = noisy(np.arange(10.0), 20, 0.01, 0)
    found = spearman_over_units(x, np.exp(x), seed=1)
    assert (found.estimate, found.low, found.high, found.units) == (1.0, 1.0, 1.0, 20)
    assert spearman_over_units(x, -(x**3), seed=1).estimate == -1.0


def test_the_estimate_is_scipys_correlation_of_the_means():
    random = np.random.default_rng(1)
    x, y = random.integers(4, size=(6, 15)).astype(float), random.normal(size=(6, 15))
    expected = spearmanr(x.mean(axis=0), y.mean(axis=0)).statistic
    assert spearman_over_units(x, y, seed=1).estimate == pytest.approx(expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_interval_agrees_with_a_loop(sign):
    means = np.random.default_rng(2).normal(size=(2, 12))
    x, y = noisy(means[0], 30, 0.8, 3), sign * noisy(means[0] + means[1], 30, 0.8, 4)
    draws = np.random.default_rng(5).integers(30, size=(199, 30))
    found = spearman_over_units(x, y, resamples=199, seed=5)
    drawn = [spearmanr(x[d].mean(axis=0), y[d].mean(axis=0)).statistic for d in draws]
    below, above = np.quantile(drawn, (0.025, 0.975))
    assert found.low == pytest.approx(max(-1, min(below, 2 * found.estimate - above)))
    assert found.high == pytest.approx(min(1, max(above, 2 * found.estimate - below)))
    assert -1 <= found.low < found.estimate < found.high <= 1


def test_fewer_than_eight_items_give_no_interval():
    x = noisy(np.arange(7.0), 20, 0.1, 0)
    found = spearman_over_units(x, x, seed=1)
    assert found.estimate == 1.0
    assert np.isnan((found.low, found.high)).all()
    eight = noisy(np.arange(8.0), 20, 0.1, 0)
    assert spearman_over_units(eight, eight, seed=1).low == 1.0


def test_an_item_without_a_value_does_not_count():
    x, y = noisy(np.arange(8.0), 20, 0.1, 0), noisy(np.arange(8.0), 20, 0.1, 1)
    y[:, 3] = NAN
    assert np.isnan(spearman_over_units(x, y, seed=1).low)
    x, y = np.hstack([x, x[:, :2] + 20]), np.hstack([y, y[:, :2] + 20])
    y[0, 5], x[2], y[3] = NAN, NAN, NAN
    found = spearman_over_units(x, y, seed=1)
    assert found.estimate == found.low == 1.0
    assert found.units == 18


def test_undefined_correlations():
    x = noisy(np.arange(9.0), 20, 0.1, 0)
    assert np.isnan(spearman_over_units(x, np.ones_like(x), seed=1).estimate)
    assert np.isnan(spearman_over_units(x, np.full_like(x, NAN), seed=1).estimate)
    assert np.isnan(spearman_over_units(x[:1], x[:1], seed=1).low)


def test_means_that_are_mostly_noise_give_no_interval():
    means = np.random.default_rng(3).normal(size=20)
    loud, clear = noisy(means, 32, 8.0, 1), noisy(means, 32, 0.5, 2)
    assert np.isnan(spearman_over_units(loud, clear, seed=1).low)
    assert np.isnan(spearman_over_units(clear, loud, seed=1).high)
    assert spearman_over_units(clear, clear, seed=1).low > 0.9


def test_what_units_share_over_items_is_not_noise():
    means, shared = np.random.default_rng(4).normal(size=20), np.random.default_rng(5).normal(size=(32, 1))
    quiet = noisy(means, 32, 0.5, 2)
    plain, moved = (spearman_over_units(x, quiet, seed=1) for x in (quiet, quiet + 20 * shared))
    assert (moved.low, moved.high) == pytest.approx((plain.low, plain.high))


def test_order_of_items_and_increasing_maps_of_means_do_not_matter():
    means = np.random.default_rng(6).normal(size=12)
    x, y = noisy(means, 20, 0.5, 1), noisy(means, 20, 0.5, 2)
    order = np.random.default_rng(7).permutation(12)
    plain = spearman_over_units(x, y, resamples=99, seed=1)
    assert spearman_over_units(x[:, order], 3 * y[:, order] + 1, resamples=99, seed=1).low == pytest.approx(plain.low)
    assert spearman_over_units(y, x, resamples=99, seed=1).high == pytest.approx(plain.high)


@pytest.mark.parametrize(("x", "y"), [((4, 8), (4, 9)), ((4, 8), (5, 8)), ((8,), (8,)), ((2, 4, 8), (2, 4, 8))])
def test_wrong_shapes(x, y):
    with pytest.raises(ValueError, match=r"\(unit, item\) of one shape"):
        spearman_over_units(np.zeros(x), np.zeros(y), seed=1)


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"resamples": 0}])
def test_wrong_rates(wrong):
    with pytest.raises(ValueError, match="expected a level in"):
        spearman_over_units(np.zeros((4, 8)), np.zeros((4, 8)), seed=1, **wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("items", "relation", "noise"), [(12, 0.0, 2.0), (12, 0.6, 2.0), (48, 0.6, 2.0), (48, 0.9, 1.0)]
)
def test_coverage_of_the_correlation_of_true_means(items, relation, noise):
    random, given, covered = np.random.default_rng(8), 0, 0
    for seed in range(400):
        a = random.normal(size=items)
        b = relation * a + (1 - relation**2) ** 0.5 * random.normal(size=items)
        x, y = (side + noise * random.normal(size=(64, items)) for side in (a, b))
        found = spearman_over_units(x, y, resamples=399, seed=seed)
        given += np.isfinite(found.low)
        covered += found.low - 1e-9 <= spearmanr(a, b).statistic <= found.high + 1e-9
    assert given >= 300
    assert covered / given >= 0.92


def test_over_units_it_is_the_mean_of_what_scipy_gives_each_item():
    random = np.random.default_rng(3)
    x, y = random.standard_normal((2, 20, 5))
    y[:, 0] += x[:, 0]
    y[4, 2] = np.nan  # the unit is left out for all
    found = spearman_of_units(x, y, seed=1)
    kept = np.arange(20) != 4
    expected = [spearmanr(x[kept, k], y[kept, k]).statistic for k in range(5)]
    np.testing.assert_allclose(found.each, expected)
    assert found.interval.estimate == pytest.approx(np.mean(expected)) and found.interval.units == 19
    assert found.each_adjusted[0] < 0.05 < found.each_adjusted[1:].min()


def test_over_units_nothing_is_said_of_what_does_not_vary():
    x = np.arange(12.0)[:, None]
    constant = spearman_of_units(x, np.ones_like(x), seed=0)
    assert np.isnan([constant.p, constant.interval.low, constant.each[0], constant.each_adjusted[0]]).all()
    assert np.isnan(spearman_of_units(x[:2], x[:2], seed=0).p)
    both = spearman_of_units(np.repeat(x, 2, axis=1), np.concatenate([x, np.ones_like(x)], axis=1), seed=0)
    assert both.interval.estimate == 1.0 and np.isnan(both.each[1])
    with pytest.raises(ValueError, match="of one shape"):
        spearman_of_units(x, x[:5], seed=0)


@pytest.mark.slow
def test_over_units_size_and_coverage_hold():
    """300 studies each of 24 documents and 6 dependent heads: p at most .05 by chance, and the true mean inside."""
    random = np.random.default_rng(5)
    small = covered = 0
    truth = 6 / np.pi * np.arcsin(0.5 * 0.6)  # Spearman's of a normal pair of correlation .6
    for trial in range(300):
        x = random.standard_normal((24, 1))
        shared, own = random.standard_normal((24, 1)), random.standard_normal((24, 6))
        noise = np.sqrt(0.5) * (shared + own)
        small += spearman_of_units(np.repeat(x, 6, axis=1), noise, resamples=199, seed=trial).p <= 0.05
        y = 0.6 * x + 0.8 * noise
        interval = spearman_of_units(np.repeat(x, 6, axis=1), y, resamples=199, seed=trial).interval
        covered += interval.low <= truth <= interval.high
    assert small <= 27  # binomial(300, .05) above 27: .1 %
    assert covered >= 270
