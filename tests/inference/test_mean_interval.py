"""The one rule of intervals: how few units are too few, what a mean can be, and what is promised."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from heedful.inference.interval import bootstrap_t, student_t
from heedful.inference.mean_interval import (
    AT_LEAST_0,
    FEWEST,
    FEWEST_FOR_CLAIM,
    SHARE,
    SKILL,
    UNBOUNDED,
    mean_interval,
)
from heedful.inference.skewness import skew_t

RANDOM = np.random.default_rng(0)
TRIALS = 4000


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_too_few_documents_have_a_mean_and_no_interval(count: int) -> None:
    found = mean_interval(RANDOM.uniform(size=(count, 3)))
    assert np.isfinite(found.estimate).all() and np.isnan(found.low).all() and np.isnan(found.high).all()


def test_units_are_counted_entry_by_entry() -> None:
    values = RANDOM.standard_normal((8, 2))
    values[:4, 1] = np.nan
    found = mean_interval(values)
    assert np.isfinite(found.low).tolist() == [True, False]


@pytest.mark.parametrize("count", [FEWEST, 9, 16, 40])
@pytest.mark.parametrize(
    ("within", "draw"),
    [
        (SHARE, lambda shape: RANDOM.beta(8, 0.3, shape)),
        (SHARE, lambda shape: (RANDOM.uniform(size=shape) < 0.1).astype(float)),
        ((-1.0, 1.0), lambda shape: np.cos(RANDOM.exponential(0.2, shape))),
        (AT_LEAST_0, lambda shape: RANDOM.lognormal(0, 1.5, shape)),
        (SKILL, lambda shape: 1 - RANDOM.lognormal(-2, 1.5, shape)),
    ],
    ids=["mass", "rare", "cosine", "divergence", "skill"],
)
def test_no_bound_leaves_what_the_quantity_can_be(
    count: int, within: tuple[float, float], draw: Callable[[tuple[int, int]], np.ndarray]
) -> None:
    found = mean_interval(draw((count, 200)), within=within)
    assert (np.asarray(found.low) >= within[0]).all() and (np.asarray(found.high) <= within[1]).all()
    assert (np.asarray(found.low) <= found.estimate).all() and (np.asarray(found.estimate) <= found.high).all()


def test_the_bootstrap_leaves_it() -> None:
    """Why there is a rule: over four documents of a mass, bounds below 0 and above 1."""
    found = bootstrap_t(RANDOM.beta(2, 0.5, (4, 400)), seed=0)
    outside = (np.asarray(found.low) < 0) | (np.asarray(found.high) > 1)
    assert outside.mean() > 0.1


def test_each_entry_has_its_own_range() -> None:
    values = np.stack([RANDOM.beta(8, 0.3, 6), RANDOM.lognormal(0, 2, 6)], axis=1)
    found = mean_interval(values, within=([0.0, 0.0], [1.0, math.inf]))
    assert np.asarray(found.high)[0] <= 1.0 < np.asarray(found.high)[1] and np.asarray(found.low).min() >= 0


def test_a_constant_has_itself_for_an_interval_and_rounding_beyond_the_range_does_no_harm() -> None:
    found = mean_interval(np.full(20, 1.0), within=SHARE)
    assert (found.low, found.estimate, found.high) == (1.0, 1.0, 1.0)
    found = mean_interval(np.full(20, 1.0 + 1e-12), within=SHARE)
    assert found.low <= found.estimate <= found.high


@pytest.mark.parametrize(("count", "rule"), [(3, student_t), (15, student_t), (16, skew_t), (40, skew_t)])
def test_runs_have_students_interval_until_there_are_many(count: int, rule: Callable[..., object]) -> None:
    values = RANDOM.lognormal(size=(count, 3))
    found, expected = mean_interval(values, runs=True), rule(values)
    np.testing.assert_allclose(found.low, expected.low)  # type: ignore[attr-defined]
    np.testing.assert_allclose(found.high, expected.high)  # type: ignore[attr-defined]
    assert np.isnan(mean_interval(values[:1], runs=True).low).all()


WORLDS = {
    "normal": (lambda shape: RANDOM.standard_normal(shape), 0.0, UNBOUNDED),
    "skew 6": (lambda shape: RANDOM.lognormal(0, 1, shape), math.exp(0.5), AT_LEAST_0),
    "mirrored skew 6": (lambda shape: -RANDOM.lognormal(0, 1, shape), -math.exp(0.5), UNBOUNDED),
    "mass near 1": (lambda shape: RANDOM.beta(8, 1, shape), 8 / 9, SHARE),
    "mass at the ends": (lambda shape: RANDOM.beta(0.5, 0.5, shape), 0.5, SHARE),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("count", [FEWEST_FOR_CLAIM, 64])
def test_each_side_keeps_its_promise(world: str, count: int) -> None:
    """2.5 % beyond each bound; three standard errors of the simulation, and 2.8 % at skew 6, are allowed for."""
    draw, mean, within = WORLDS[world]
    found = mean_interval(draw((count, TRIALS)), within=within)
    limit = 0.028 + 3 * math.sqrt(0.028 / TRIALS)
    assert (np.asarray(found.low) > mean).mean() < limit
    assert (np.asarray(found.high) < mean).mean() < limit


def test_the_bootstrap_does_not_keep_it() -> None:
    """The same world, where 2.5 % are promised."""
    draw, mean, _ = WORLDS["mirrored skew 6"]
    found = bootstrap_t(draw((64, 1500)), resamples=499, seed=0)
    assert (np.asarray(found.low) > mean).mean() > 0.034
