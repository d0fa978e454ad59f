"""Permuted partners stay allowed, are exchangeable with the given ones, and reach every matching."""

from __future__ import annotations

import numpy as np
import pytest

from heedful.inference.matched_pairs import permuted_partners, ranked


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
