"""Random orientations: size for any spectrum, power for heads that are turned towards their keys."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heedful.inference.orientation import orientation, squared_rotations

RANDOM = np.random.default_rng(0)


def spectra(kind: str, dim: int) -> np.ndarray:
    return {"flat": np.ones(dim), "steep": 2.0 ** -np.arange(dim), "one": np.eye(dim)[0] + 1e-9}[kind]


def turned(values: np.ndarray) -> np.ndarray:
    turn = np.linalg.qr(RANDOM.standard_normal((len(values), len(values))))[0]
    return (turn * values) @ turn.T


@pytest.mark.parametrize("kind", ["flat", "steep", "one"])
@pytest.mark.parametrize("dim", [8, 32])
def test_random_orientations_are_named_one_time_in_twenty(kind: str, dim: int) -> None:
    trials, heads, alone, any_of = 150, 12, 0, 0
    for _ in range(trials):
        values = spectra(kind, dim) * RANDOM.uniform(0.5, 1.5, dim)
        queries, keys = ([turned(values) for _ in range(heads)] for _ in "qk")
        found = orientation(queries, keys, seed=0)
        alone += int((found.p <= 0.05).sum())
        any_of += bool((found.p_adjusted <= 0.05).any())
    assert alone / (trials * heads) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (trials * heads))
    assert any_of / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_heads_turned_towards_their_keys_are_named_among_many() -> None:
    values = spectra("steep", 32)
    queries = [turned(values) for _ in range(270)]
    keys = [queries[0] + 1e-3 * np.eye(32), *(turned(values) for _ in range(269))]
    found = orientation(queries, keys, seed=0)
    assert found.p_adjusted[0] <= 0.05 and found.score[0] > 5
    assert (found.p_adjusted[1:] <= 0.05).sum() <= 2


def test_what_has_no_orientation_is_undefined() -> None:
    good = turned(spectra("steep", 8))
    found = orientation([good, np.zeros((8, 8)), np.eye(2), good], [good, good, np.eye(2), turned(np.ones(8))], seed=0)
    assert np.isnan(found.p).tolist() == [True, True, True, False]  # equal, none, too few dimensions
    assert np.isnan(orientation([np.zeros((8, 8))], [good], seed=0).p_adjusted).all()


def test_rotations_keep_length() -> None:
    drawn = squared_rotations(6, 50, 1)
    np.testing.assert_allclose(drawn.sum(1), 1.0)
    np.testing.assert_allclose(drawn.sum(2), 1.0)
    assert drawn.mean() == pytest.approx(1 / 6)
