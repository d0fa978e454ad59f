from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.inference import signflip
from heedful.inference.signflip import sign_flip

NAN, INF = np.nan, np.inf


def test_units_of_one_sign_give_the_smallest_p():
    found = sign_flip([1.0, 2.0, 3.0, 4.0], seed=0)
    assert (found.p, found.p_adjusted, found.flips, found.exact) == (2 / 16, 2 / 16, 16, True)
    assert sign_flip([1.0, 2.0, 3.0, 4.0], seed=0, alternative="greater").p == 1 / 16
    assert sign_flip([1.0, 2.0, 3.0, 4.0], seed=0, alternative="less").p == 1.0


def test_zeros_are_no_evidence():
    assert sign_flip(np.zeros(5), seed=0).p == 1.0
    assert sign_flip(np.zeros(50), seed=0).p == 1.0
    assert sign_flip([1.0, -1.0], seed=0).p == 1.0


def test_missing_and_infinite_entries():
    values = np.ones((12, 4))
    values[:, 1] = NAN
    values[0, 2] = INF
    values[2:, 3] = NAN
    found = sign_flip(values, seed=0)
    assert not found.exact
    np.testing.assert_array_equal(np.isnan(found.p), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(found.p_adjusted), [False, True, True, False])
    assert found.p[3] == pytest.approx(0.5, abs=0.05)
    assert np.isnan(sign_flip(np.full((3, 2), NAN), seed=0).p).all()


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_enumeration_agrees_with_a_loop(alternative):
    values = np.random.default_rng(1).normal(0.4, 1.0, size=(7, 3))
    measure = {"two-sided": abs, "greater": lambda t: t, "less": lambda t: -t}[alternative]
    scaled = [[measure(_scaled_sum(s, values[:, e])) for e in range(3)] for s in product((1, -1), repeat=7)]
    observed = scaled[0]
    p = [sum(flip[e] >= observed[e] - 1e-9 for flip in scaled) / 128 for e in range(3)]
    adjusted = [sum(max(flip) >= observed[e] - 1e-9 for flip in scaled) / 128 for e in range(3)]
    found = sign_flip(values, seed=0, alternative=alternative)
    assert found.exact
    np.testing.assert_allclose(found.p, p)
    np.testing.assert_allclose(found.p_adjusted, adjusted)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_a_family_of_several_blocks_is_one_family(alternative, monkeypatch):
    values = np.random.default_rng(5).normal(0.3, 1.0, size=(9, 11))
    whole = sign_flip(values, seed=0, resamples=199, alternative=alternative)
    monkeypatch.setattr(signflip, "ENTRIES_AT_ONCE", 4)
    parts = sign_flip(values, seed=0, resamples=199, alternative=alternative)
    np.testing.assert_allclose(parts.p, whole.p)
    np.testing.assert_allclose(parts.p_adjusted, whole.p_adjusted)
    assert np.max(whole.p_adjusted - whole.p) > 0.1


def test_random_flips_approach_enumeration():
    values = np.random.default_rng(2).normal(0.5, 1.0, size=(10, 5))
    exact, random = sign_flip(values, resamples=1024, seed=0), sign_flip(values, resamples=1023, seed=0)
    assert exact.exact
    assert not random.exact
    assert random.flips == 1024
    np.testing.assert_allclose(random.p, exact.p, atol=0.05)
    np.testing.assert_allclose(random.p_adjusted, exact.p_adjusted, atol=0.06)


def test_p_is_never_zero():
    assert sign_flip(np.ones(60), resamples=99, seed=0).p == 0.01
    assert sign_flip(np.ones((60, 3)), resamples=99, seed=0).p_adjusted.tolist() == [0.01] * 3


def test_blocks_of_flips_and_entries_do_not_change_the_answer():
    values = np.random.default_rng(3).normal(size=(3000, 2))
    many = np.concatenate([values, np.zeros((3000, 1100)), values], axis=1)
    few, wide = sign_flip(values, resamples=400, seed=5), sign_flip(many, resamples=400, seed=5)
    np.testing.assert_allclose(wide.p[:2], few.p)
    np.testing.assert_allclose(wide.p_adjusted[-2:], few.p_adjusted)


@settings(deadline=None, max_examples=40)
@given(order=st.permutations(range(8)), scale=st.floats(1e-100, 1e100))
def test_order_and_scale_do_not_matter(order, scale):
    values = np.random.default_rng(4).normal(0.3, 1.0, size=(8, 3))
    plain, moved = sign_flip(values, seed=0), sign_flip(scale * values[order], seed=0)
    np.testing.assert_array_equal(plain.p, moved.p)
    np.testing.assert_array_equal(plain.p_adjusted, moved.p_adjusted)


def test_the_family_costs_and_its_shape_is_kept():
    values = np.random.default_rng(5).normal(0.5, 1.0, size=(20, 3, 4))
    found = sign_flip(values, seed=1)
    assert found.p.shape == found.p_adjusted.shape == (3, 4)
    assert (found.p_adjusted >= found.p).all()
    assert sign_flip(values[:, 0, 0], seed=1).p == pytest.approx(found.p[0, 0])


def test_no_entries_give_no_p():
    assert sign_flip(np.zeros((5, 0)), seed=1).p.shape == (0,)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="at least 1 resample"):
        sign_flip([1.0], resamples=0, seed=0)
    with pytest.raises(ValueError, match="expected alternative"):
        sign_flip([1.0], seed=0, alternative="both")


@pytest.mark.slow
@pytest.mark.parametrize("units", [8, 16, 64])
def test_false_positive_rate(units):
    random = np.random.default_rng(units)
    rates = [(sign_flip(random.normal(size=(units, 500)), seed=seed).p <= 0.05).mean() for seed in range(8)]
    assert 0.04 <= np.mean(rates) <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_family_wise_error_of_the_largest(shared):
    random, false = np.random.default_rng(7), 0
    for seed in range(600):
        common = random.normal(size=(32, 1)) * shared**0.5
        values = common + random.normal(size=(32, 144)) * (1 - shared) ** 0.5
        false += (sign_flip(values, resamples=499, seed=seed).p_adjusted <= 0.05).any()
    assert 0.03 <= false / 600 <= 0.07


def _scaled_sum(signs, values):
    return sum(s * x for s, x in zip(signs, values, strict=True)) / sum(x * x for x in values) ** 0.5
