"""Two one-sided tests: how often they say EQUIVALENT of a difference as large as the margin."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heedful.comparison.equivalence import Equivalence, answer, paired_p, unpaired_p
from heedful.inference.mean_interval import mean_interval

TRIALS = 800
RANDOM = np.random.default_rng(0)
WORLDS = {
    "normal": lambda shape: RANDOM.standard_normal(shape),
    "skew 1.7": lambda shape: (np.exp(0.5 * RANDOM.standard_normal(shape)) - math.exp(0.125)) / 0.604,
    "skew 6": lambda shape: (np.exp(RANDOM.standard_normal(shape)) - math.exp(0.5)) / 2.161,
}


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("count", [16, 64])
def test_a_difference_at_the_margin_is_called_equivalent_one_time_in_twenty(
    count: int, world: str, side: float
) -> None:
    margin = 1.0
    draws = WORLDS[world]((TRIALS, count)) + side * margin
    said = np.mean([paired_p(draw, margin) <= 0.05 for draw in draws])
    assert said <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)


def test_no_difference_is_found_equivalent_where_the_text_is_enough() -> None:
    draws = RANDOM.standard_normal((300, 64))
    assert np.mean([paired_p(draw, 0.5) <= 0.05 for draw in draws]) > 0.8
    assert np.mean([paired_p(draw, 0.05) <= 0.05 for draw in draws]) == 0


def test_unpaired_intervals_hold_their_level() -> None:
    said = 0
    for _ in range(TRIALS):
        one, other = RANDOM.standard_normal(64), 1.0 + RANDOM.standard_normal(64)
        a, b = mean_interval(one), mean_interval(other)
        d = float(b.estimate) - float(a.estimate)
        low = d - math.hypot(float(b.estimate - b.low), float(a.high - a.estimate))
        high = d + math.hypot(float(b.high - b.estimate), float(a.estimate - a.low))
        said += unpaired_p(d, low, high, 1.0) <= 0.05
    assert said / TRIALS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)
    assert math.isnan(unpaired_p(0.0, 0.0, 0.0, 1.0))


def test_the_answer_follows_both_p() -> None:
    assert answer(0.01, 0.01) is Equivalence.EQUIVALENT  # a difference, and known to be small
    assert answer(0.2, 0.01) is answer(None, 0.01) is Equivalence.DIFFERENT
    assert answer(0.2, 0.2) is answer(0.2, None) is Equivalence.NOT_SETTLED
    assert answer(None, None) is None
