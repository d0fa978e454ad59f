from dataclasses import replace
from itertools import pairwise

import pytest

from heedful.errors import UsageError
from heedful.evaluation.budget import (
    BACKWARD,
    HEADS,
    LAYERS,
    MEASURING,
    NULL,
    WHOLE,
    Costs,
    Plan,
    Remaining,
    Shape,
    chosen,
    plans,
)
from heedful.evaluation.settings import Settings

COSTS = Costs(0.3, Shape(64, 30, 270))
FULL = Plan(Settings(preset="full"), 64)


def test_what_matters_least_is_left_out_first() -> None:
    left = [plan.left_out for plan in plans(FULL)]
    assert left[0] == ()
    assert left[1] == (HEADS,)
    assert left[2] == (HEADS, LAYERS)
    assert [plan.sequences for plan in plans(FULL)][2:5] == [64, 32, 16]
    assert next(plan.without[-1] for plan in plans(FULL) if plan.without) == WHOLE
    assert list(plans(FULL))[-1].without[-1] == BACKWARD
    assert list(plans(FULL))[1].settings.nulls == 19


def test_each_plan_costs_less_than_the_one_before() -> None:
    seconds = [sum(COSTS.of(plan).values()) for plan in plans(FULL)]
    assert all(after < before for before, after in pairwise(seconds))


@pytest.mark.parametrize("seconds", [1e6, 200.0, 100.0, 40.0, 20.0])
def test_the_chosen_plan_is_the_first_that_fits(seconds: float) -> None:
    plan = chosen(FULL, COSTS, seconds)
    ahead = list(plans(FULL))
    before = ahead[: next(k for k, one in enumerate(ahead) if one == plan)]
    assert all(sum(COSTS.of(one).values()) > seconds for one in before)
    assert sum(COSTS.of(plan).values()) <= seconds or plan == ahead[-1]


def test_a_text_that_is_measured_is_not_cut() -> None:
    plan = chosen(Plan(Settings(preset="quick"), 64), COSTS, 0.0, measured=True)
    assert plan.sequences == 64 and NULL in plan.without and plan.settings.nulls == 0


def test_draws_that_were_asked_for_are_kept_with_the_preset_lowered() -> None:
    wanted = replace(FULL, settings=Settings(preset="full", null_models=50))
    assert [plan.settings.nulls for plan in plans(wanted)][:3] == [50, 50, 50]


def test_the_remaining_time_is_told_once_a_phase() -> None:
    remaining = Remaining({MEASURING: 10.0, NULL: 5.0})
    assert (remaining.at(MEASURING), remaining.at(MEASURING), remaining.at("x")) == (15.0, None, None)
    assert remaining.at(NULL) == 5.0


@pytest.mark.parametrize("budget", [0, -1.0, True, "60"])
def test_a_budget_is_some_seconds(budget: object) -> None:
    with pytest.raises(UsageError, match="budget: expected seconds above 0"):
        Settings(budget=budget)  # type: ignore[arg-type]
