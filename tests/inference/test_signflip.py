"""Permuted partners stay allowed, are exchangeable with the given ones, and reach every matching."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.inference import signflip
from heedful.inference.signflip import max_rank_p, permuted_partners, pooled_rank_p, rank_p, ranked, sign_flip

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


def test_rank_of_known_values():
    null = [1.0, 2.0, 3.0, 4.0]
    assert [rank_p(t, null) for t in (9.0, 4.0, 2.5, 1.0, INF)] == [1 / 5, 2 / 5, 3 / 5, 1.0, 1 / 5]


def test_missing_values_and_models():
    null = [[1.0, NAN, 1.0], [NAN, NAN, 2.0], [3.0, NAN, 3.0]]
    np.testing.assert_array_equal(rank_p([2.0, 2.0, NAN], null), [2 / 3, NAN, NAN])


def test_ninety_nine_models_allow_one_percent():
    assert rank_p(10.0, np.arange(99) / 99) == 0.01


def test_pooled_rank_agrees_with_a_loop():
    random = np.random.default_rng(0)
    observed, null = random.normal(size=(2, 3)), random.normal(size=(5, 2, 3))
    found = pooled_rank_p(observed, null)
    for layer, head in np.ndindex(2, 3):
        reached = sum(null[r, layer, k] >= observed[layer, head] for r in range(5) for k in range(3))
        assert found[layer, head] == (1 + reached) / 16


def test_pooled_rank_of_one_layer():
    np.testing.assert_array_equal(pooled_rank_p([5.0, 0.0], [[1.0, 2.0]]), [1 / 3, 1.0])


def test_max_rank_agrees_with_a_loop():
    random = np.random.default_rng(1)
    observed, null = random.normal(size=(2, 3)), random.normal(size=(9, 2, 3))
    everyone = np.concatenate([observed[None], null])
    z = (everyone - everyone.mean(axis=0)) / everyone.std(axis=0)
    expected = [[(1 + sum(z[r].max() >= z[0, i, j] for r in range(1, 10))) / 10 for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(max_rank_p(observed, null), expected)


def test_max_rank_of_one_entry_is_its_rank():
    null = np.random.default_rng(2).normal(size=19)
    assert max_rank_p(0.3, null) == rank_p(0.3, null)


def test_max_rank_leaves_out_what_is_undefined():
    random = np.random.default_rng(3)
    observed, null = random.normal(size=3), random.normal(size=(9, 3))
    more = np.append(observed, [NAN, 1.0, INF]), np.concatenate([null, np.full((9, 2), NAN), null[:, :1]], axis=1)
    np.testing.assert_array_equal(max_rank_p(*more), [*max_rank_p(observed, null), NAN, NAN, NAN])
    empty = np.concatenate([null, np.full((1, 3), NAN)])
    np.testing.assert_array_equal(max_rank_p(observed, empty), max_rank_p(observed, null))
    assert np.isnan(max_rank_p(np.full(2, NAN), np.zeros((4, 2)))).all()


def test_models_that_never_differ_are_no_evidence():
    np.testing.assert_array_equal(max_rank_p([0.1, 0.1], np.full((19, 2), 0.1)), [1.0, 1.0])


@given(order=st.permutations(range(7)), shift=st.integers(-5, 5), scale=st.sampled_from([0.25, 2.0, 1024.0]))
def test_order_of_models_and_units_of_measure_do_not_matter(order, shift, scale):
    random = np.random.default_rng(4)
    observed, null = random.integers(-9, 9, size=4) / 4, random.integers(-9, 9, size=(7, 4)) / 4
    for test in (rank_p, pooled_rank_p, max_rank_p):
        moved = test(scale * observed + shift, scale * null[order] + shift)
        np.testing.assert_allclose(moved, test(observed, null))


@pytest.mark.parametrize("null", [np.zeros((4, 2)), np.zeros(3), np.zeros((0, 3)), 1.0])
def test_wrong_shapes(null):
    for test in (rank_p, pooled_rank_p, max_rank_p):
        with pytest.raises(ValueError, match="at least one model"):
            test(np.zeros(3), null)


def test_pooling_wants_heads():
    with pytest.raises(ValueError, match="head"):
        pooled_rank_p(1.0, [1.0, 2.0])


@pytest.mark.slow
def test_false_positive_rates():
    random, found = np.random.default_rng(5), []
    for _ in range(2000):
        models = random.exponential(size=(20, 2, 4)) * [[1.0], [3.0]]
        p = [np.asarray(test(models[0], models[1:])) for test in (rank_p, pooled_rank_p, max_rank_p)]
        found.append([(p[0] <= 0.05).mean(), (p[1] <= 0.05).mean(), (p[2] <= 0.05).any()])
    rank, pooled, family = np.mean(found, axis=0)
    assert 0.042 <= rank <= 0.058
    assert pooled == pytest.approx(3 / 77, abs=0.006)
    assert 0.035 <= family <= 0.065


def everything(which: np.ndarray, partner: np.ndarray) -> np.ndarray:
    return np.ones(len(which), dtype=bool)


def test_partners_are_permuted_and_stay_allowed() -> None:
    left = np.arange(3, 23)
    right = left - np.random.default_rng(0).integers(1, 4, 20)
    found = permuted_partners(left, right, lambda at, key: key <= left[at], permutations=50, seed=1)
    assert found.shape == (50, 20) and (found <= left).all()
    assert (np.sort(found, axis=1) == np.sort(right)).all()
    assert len({tuple(row) for row in found.tolist()}) > 40


def test_every_matching_is_reached_equally_often() -> None:
    left = right = np.arange(3)
    found = permuted_partners(left, right, everything, permutations=6000, seed=2)
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 6 and abs(counts / 6000 - 1 / 6).max() < 0.02


def test_one_pair_has_no_other_matching() -> None:
    assert (permuted_partners(np.array([4]), np.array([2]), everything, permutations=3, seed=0) == 2).all()
    with pytest.raises(ValueError, match="one length"):
        permuted_partners(np.arange(3), np.arange(2), everything, permutations=1, seed=0)


def test_ranks_are_shares_and_the_family_is_the_largest() -> None:
    given, permuted = np.array([3.0, 0.0, np.nan, 1.0]), np.array([[1.0, 0.0, 0, 2], [2.0, 1.0, 0, 0], [3.0, -1, 0, 1]])
    p, adjusted = ranked(given, permuted)
    assert p[[0, 1, 3]].tolist() == [0.5, 0.75, 0.75] and np.isnan(p[2])
    assert (adjusted[[0, 1, 3]] >= p[[0, 1, 3]]).all() and np.isnan(adjusted[2])


def _rates(effect: float, trials: int = 300, heads: int = 12) -> tuple[float, float]:
    """How often any head is named, and one head, at 5 % with weights that favour the given pairs by an effect."""
    random = np.random.default_rng(7)
    any_named = first_named = 0
    for trial in range(trials):
        queries = np.sort(random.choice(np.arange(8, 60), 15, replace=False))
        keys = np.array([random.integers(0, query) for query in queries])
        popular = random.normal(size=(heads, 60)) + random.normal(size=60)  # keys that draw weight from everyone
        weights = np.exp(popular[:, None] + 0.5 * random.normal(size=(heads, 60, 60)))
        weights[0, queries, keys] *= np.exp(effect)
        weights /= np.stack([np.where(np.arange(60) <= q, weights[:, q], 0).sum(-1) for q in range(60)], 1)[..., None]
        found = permuted_partners(queries, keys, lambda at, key, q=queries: key <= q[at], permutations=99, seed=trial)
        given = weights[:, queries, keys].mean(-1)
        permuted = np.stack([weights[:, queries, row].mean(-1) for row in found])
        p, adjusted = ranked(given, permuted)
        any_named += bool((adjusted <= 0.05).any())
        first_named += bool(p[0] <= 0.05)
    return any_named / trials, first_named / trials


@pytest.mark.slow
def test_the_null_holds_five_percent_with_popular_keys_and_names_a_planted_head() -> None:
    any_named, one_named = _rates(0.0)
    assert any_named < 0.08 and 0.02 < one_named < 0.08  # 300 trials: 5 % and twice its standard error
    assert _rates(1.5, 60)[0] > 0.8
