"""Rates, their intervals, and what breaks a promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heedful.evaluation.calibration.rate import AT_LEAST, Rate, pooled, worth_of


def rate(count: int, trials: int, nominal: float = 0.05, promise: str = "at most", length: int = 16) -> Rate:
    return Rate(
        claim="c", event="e", world="w", length=length, count=count, trials=trials, nominal=nominal, promise=promise
    )


def test_clopper_pearson_of_none_and_of_some() -> None:
    """None of n: the upper bound is 1 - (alpha / 2)^(1 / n)."""
    assert rate(0, 50).interval() == (0.0, pytest.approx(1 - 0.025 ** (1 / 50)))
    assert rate(5, 100).interval() == pytest.approx((0.01643, 0.11283), abs=1e-4)
    assert rate(0, 0).interval() == (0.0, 1.0)


def test_a_promise_breaks_on_its_own_side_only() -> None:
    assert rate(20, 100).kept() is False
    assert rate(0, 1000).kept()
    assert rate(50, 100, 0.8, AT_LEAST).kept() is False
    assert rate(100, 100, 0.8, AT_LEAST).kept()


def test_many_rates_are_looked_at_together() -> None:
    assert not rate(11, 100).kept()
    assert rate(11, 100).kept(tests=500)


def test_a_certain_event_may_not_fail_once() -> None:
    assert rate(10, 10, 1.0, AT_LEAST).kept() and not rate(9, 10, 1.0, AT_LEAST).kept()
    assert rate(0, 10, 0.0).kept() and not rate(1, 10, 0.0).kept()


def test_lengths_are_pooled() -> None:
    whole = pooled([rate(1, 10), rate(4, 30, length=32)])
    assert (whole.count, whole.trials, whole.length) == (5, 40, None)


def test_trials_that_go_together_are_worth_their_groups() -> None:
    """Heads of a study that always agree are one trial; heads that do not are nearly as many as there are."""
    studies = [[index % 4 == 0] * 8 for index in range(40)]
    assert 30 < worth_of(studies) <= 40
    random = np.random.default_rng(0)
    apart = [list(random.random(8) < 0.25) for _ in range(40)]
    assert 250 < worth_of(apart) <= 320
    assert worth_of([[False] * 8] * 5) == 40 and worth_of([[True, False]]) == 2 and worth_of([]) == 0


def test_intervals_widen_with_what_trials_are_worth() -> None:
    whole, grouped = rate(40, 320), replace(rate(40, 320), worth=40.0)
    assert grouped.interval()[0] < whole.interval()[0] and grouped.interval()[1] > whole.interval()[1]
    assert grouped.interval() == pytest.approx(rate(5, 40).interval())
    assert not whole.kept() and grouped.kept()
    assert pooled([grouped, rate(1, 10)]).worth == 50.0


@pytest.mark.parametrize(("trials", "nominal"), [(150, 0.05), (310, 0.025), (400, 0.05)])
@pytest.mark.parametrize("tests", [1, 250])
def test_what_would_be_caught_is_caught_in_four_of_five(trials: int, nominal: float, tests: int) -> None:
    """By simulation of the rule itself, at the rate that it names and at the promise."""
    caught = rate(0, trials, nominal).caught(tests)
    draws = np.random.default_rng(0)
    for truth, expected in ((caught, 0.8), (nominal, 0.05)):
        counts, number = np.unique(draws.binomial(trials, truth, 4000), return_counts=True)
        broken = sum(n for c, n in zip(counts, number, strict=True) if not rate(int(c), trials, nominal).kept(tests))
        assert broken / 4000 == pytest.approx(expected, abs=0.02) if truth == caught else broken / 4000 < expected


def test_enough_trials_catch_twice_the_promise_and_few_catch_nothing() -> None:
    assert rate(0, 150).caught() < 0.115 and rate(0, 310, 0.025).caught() < 0.06
    assert rate(0, 400).caught(250) < 0.12 and rate(0, 24).caught(250) > 0.3
    assert np.isnan(rate(0, 2).caught(500)), "two trials can break no promise of 5 %"
    assert rate(0, 80, 0.8, AT_LEAST).caught() < 0.8


def test_of_what_may_never_happen_one_in_a_few_trials_is_caught() -> None:
    assert rate(0, 32, 0.0).caught() == pytest.approx(1 - 0.2 ** (1 / 32), rel=1e-6)
