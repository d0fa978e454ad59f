import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.inference.multiplicity import benjamini_hochberg, count_discoveries, holm

NAN = np.nan
FAMILIES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


def test_holm_of_known_values():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1.0, 1.0])


def test_benjamini_hochberg_of_known_values():
    np.testing.assert_allclose(benjamini_hochberg([0.01, 0.04, 0.03, 0.005]), [0.02, 0.04, 0.04, 0.02])


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_missing_entries_stay_missing_and_do_not_count(adjust):
    np.testing.assert_allclose(adjust([[0.02, NAN], [NAN, 0.01]]), [[0.02, NAN], [NAN, 0.02]])
    np.testing.assert_array_equal(adjust([NAN, NAN]), [NAN, NAN])
    assert adjust([]).shape == (0,)
    assert adjust(0.03) == 0.03
    assert np.isnan(adjust(NAN))


@given(FAMILIES)
def test_holm_agrees_with_its_step_down_procedure(p):
    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.5):
        rejected = set()
        for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            if (len(p) - step) * p[index] > alpha:
                break
            rejected.add(index)
        assert set(np.flatnonzero(adjusted <= alpha)) == rejected


@given(FAMILIES)
def test_benjamini_hochberg_agrees_with_its_step_up_procedure(p):
    ranked = sorted(p)
    passed = [k for k in range(1, len(p) + 1) if len(p) * ranked[k - 1] / k <= 0.05]
    assert count_discoveries(p) == (max(passed) if passed else 0)


@given(FAMILIES, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_holm_is_the_stricter(p, random):
    order = random.sample(range(len(p)), len(p))
    values = np.array(p)
    for adjust in (holm, benjamini_hochberg):
        np.testing.assert_array_equal(adjust(values[order]), adjust(values)[order])
    assert (holm(p) >= benjamini_hochberg(p) * (1 - 1e-12)).all()
    assert (benjamini_hochberg(p) >= values).all()


def test_counting():
    assert count_discoveries([[0.001, 0.9], [NAN, 0.01]]) == 2
    assert count_discoveries([0.04, 0.04], q=0.01) == 0
    assert count_discoveries([]) == 0


@pytest.mark.parametrize("p", [[1.2], [-0.1, 0.5], [np.inf]])
def test_p_values_are_rates(p):
    for adjust in (holm, benjamini_hochberg, count_discoveries):
        with pytest.raises(ValueError, match=r"within \[0, 1\]"):
            adjust(p)


def test_q_is_a_rate():
    with pytest.raises(ValueError, match="q between 0 and 1"):
        count_discoveries([0.5], q=1.0)


def p_values(random, repetitions, heads, true, shared=0.0, effect=1.0, units=32):
    """Two-sided t-test p-values of heads that share a part of their noise, the first ``true`` with an effect."""
    from scipy.stats import ttest_1samp

    for _ in range(repetitions):
        values = random.normal(size=(units, 1)) * shared**0.5 + random.normal(size=(units, heads)) * (1 - shared) ** 0.5
        values[:, :true] += effect
        yield ttest_1samp(values, 0.0).pvalue


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_family_wise_error_of_holm_without_any_effect(shared):
    errors = [(holm(p) <= 0.05).any() for p in p_values(np.random.default_rng(1), 1000, 144, 0, shared)]
    assert 0.025 <= np.mean(errors) <= 0.07


@pytest.mark.slow
def test_holm_and_benjamini_hochberg_with_fourteen_true_heads():
    false, share, power, raw = [], [], [], []
    for p in p_values(np.random.default_rng(2), 1000, 144, 14):
        named, counted = holm(p) <= 0.05, benjamini_hochberg(p) <= 0.05
        false.append(named[14:].any())
        share.append(counted[14:].sum() / max(counted.sum(), 1))
        raw.append((p <= 0.05)[14:].sum() / (p <= 0.05).sum())
        power.append((named[:14].mean(), counted[:14].mean()))
    assert np.mean(false) <= 0.065
    assert 0.03 <= np.mean(share) <= 0.055
    assert np.mean(raw) > 0.2
    holm_power, counted_power = np.mean(power, axis=0)
    assert 0.9 < holm_power < counted_power
