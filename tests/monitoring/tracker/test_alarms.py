"""Planted series: each kind of alarm where it should be and nowhere else, with the head, step, meaning and remedy."""

import math
import random
from typing import Any

import pytest

from heedful.errors import UsageError
from heedful.monitoring.tracker.alarm import KINDS, Alarm, kinds_of
from heedful.monitoring.tracker.alarms import Alarms, Readings

CALM: dict[str, Any] = {
    "entropy_share": {(0, 0): 0.6, (0, 1): 0.5, (1, 0): 0.7, (1, 2): 0.5},
    "max_logit": {(0, 0): 4.0, (1, 2): 6.0},
    "logit_sd": {(0, 0): 2.0, (1, 2): 2.0},
    "sink_mass": {(0, 0): 0.1, (1, 2): 0.05},
    "key_rank": {(0, 0): 5.0, (0, 1): 4.0, (1, 2): 3.0},
    "head_gradient": {(0, 0): 0.02, (0, 1): 0.01, (1, 2): 0.03},
    "layer_gradient": {(0, None): 0.03, (1, None): 0.04},
    "gradient_norm": 1.0,
    "clipped_norm": 1.0,
}


def watched(steps: int = 400, *, late_loss: float = 0.0, **planted: Any) -> list[Alarm]:
    """Alarms of a noisy run recorded at every 10th step, with planted readings from 80 % of it on.

    A planted value is a number or mapping, or a function of the records since it began.
    """
    draw, alarms = random.Random(0), Alarms()
    for step in range(1, steps + 1):
        late = step > 0.8 * steps
        alarms.loss(4.0 - step / steps + draw.gauss(0, 0.05) + (late_loss if late else 0.0))
        if step % 10 == 0:
            noise = draw.uniform(0.8, 1.2)
            seen = CALM | {"gradient_norm": noise, "clipped_norm": noise}
            if late:
                place = (step - int(0.8 * steps)) // 10
                told = {name: value(place) if callable(value) else value for name, value in planted.items()}
                seen |= {name: CALM[name] | value if isinstance(value, dict) else value for name, value in told.items()}
            alarms.judge(step, Readings(**seen))
    return alarms.found


def test_a_calm_run_is_silent() -> None:
    assert watched() == []


PLANTED: dict[str, tuple[dict[str, Any], tuple[tuple[int, int | None], ...], int]] = {
    "a logit above the limit": ({"max_logit": {(1, 2): 120.0}}, ((1, 2),), 330),
    "a logit that grows and grows": ({"max_logit": lambda n: {(0, 0): 20.0 + 6 * n}}, ((0, 0),), 340),
    "a layer that collapses": ({"entropy_share": {(0, 0): 0.01, (0, 1): 0.02}}, ((0, None),), 340),
    "a sink": ({"sink_mass": {(1, 2): 0.6}}, ((1, 2),), 350),
    "a dead head": ({"head_gradient": {(0, 1): 1e-9}}, ((0, 1),), 350),
    "keys on a line": ({"key_rank": {(1, 2): 1.05}}, ((1, 2),), 350),
    "no gradient to a layer": ({"layer_gradient": {(1, None): 1e-5}}, ((1, None),), 350),
    "a gradient spike": ({"gradient_norm": lambda n: 50.0 if n == 2 else 1.0}, (), 340),
    "a number that is not finite": ({"broken": 3.0}, (), 330),
}
KINDS_OF_PLANTED = (
    "logits", "logits", "collapse", "sink", "dead_head", "rank_collapse", "vanishing_gradient", "spike",
    "not_finite",
)  # fmt: skip
KIND = dict(zip(PLANTED, KINDS_OF_PLANTED, strict=True))


@pytest.mark.parametrize("name", PLANTED)
def test_each_fault_is_found_where_it_is(name: str) -> None:
    planted, heads, step = PLANTED[name]
    found = watched(**planted)
    assert {alarm.kind for alarm in found} == {KIND[name]}
    first = found[0]
    assert (first.heads, first.step) == (heads, step)
    assert name == "a number that is not finite" or len(found) == 1, "said once of a head"
    for layer, head in heads:
        assert (f"L{layer}" if head is None else f"L{layer}H{head}") in first.message
    assert "What people do: " in first.advice and "arXiv:" in first.advice
    layer, head = heads[0] if heads else (None, None)
    assert (first.row["layer"], first.row["head"], first.row["label"]) == (layer, head, first.kind)


@pytest.mark.parametrize(
    "planted",
    [
        {"max_logit": {(1, 2): 90.0}, "key_rank": {(1, 2): 1.3}},  # large, and no longer growing
        {"key_rank": {(0, 1): 1.05}},  # one head of its layer
        {"max_logit": lambda n: {(0, 0): 5.0 + 2.0 * n}},  # growing, and small
        {"entropy_share": {(0, 0): 0.01}},  # one head of its layer, and nothing else wrong
        {"sink_mass": lambda n: {(1, 2): 0.6 if n % 2 else 0.1}},  # never for long
        {"head_gradient": {(0, 0): 2e-5, (0, 1): 1e-5, (1, 2): 3e-5}},  # all of them small: a plateau
        {"gradient_norm": 1e-9, "clipped_norm": 1e-9, "layer_gradient": {(0, None): 3e-11, (1, None): 4e-11}},
    ],
)
def test_near_misses_are_silent(planted: dict[str, Any]) -> None:
    assert watched(**planted) == []


def test_a_head_that_was_born_a_sink_forms_none() -> None:
    alarms = Alarms()
    for step in range(10, 100, 10):
        alarms.judge(step, Readings(sink_mass={(0, 0): 0.9}))
    assert alarms.found == []


def test_low_entropy_of_one_head_needs_a_second_sign_and_must_last() -> None:
    for second in ({"late_loss": 0.3}, {"gradient_norm": 7.0}):
        assert watched(**second) == [], "instability alone is none"
    alarms = Alarms()
    for step in range(10, 210, 10):
        low = {(0, 0): 0.02 if step > 60 else 0.5, (0, 1): 0.5}
        alarms.judge(step, Readings(entropy_share=low, gradient_norm=7.0 if step > 90 else 1.0, full=False))
    found = [alarm for alarm in alarms.found if alarm.kind == "collapse"]
    assert [(alarm.step, alarm.heads) for alarm in found] == [(120, ((0, 0),))] and "gradient norm" in found[0].what


def test_a_wide_spread_needs_a_second_sign() -> None:
    assert watched(logit_sd={(1, 2): 30.0}) == []
    found = watched(logit_sd={(1, 2): 30.0}, gradient_norm=7.0)
    assert [alarm.kind for alarm in found] == ["logits"] and found[0].heads == ((1, 2),)


def test_a_loss_that_jumps_is_a_spike() -> None:
    found = watched(late_loss=2.0)
    assert {alarm.kind for alarm in found} == {"spike"} and found[0].step == 330


def test_what_is_not_finite_is_said_at_once() -> None:
    assert Alarms().judge(1, Readings(broken=3.0))[0].kind == "not_finite"
    assert "gradient" in Alarms().judge(1, Readings(gradient_norm=math.inf))[0].what
    alarms = Alarms()
    alarms.loss(math.nan)
    assert "loss" in alarms.judge(1, Readings())[0].what and alarms.judge(2, Readings()) == []


def test_a_brief_record_judges_what_it_holds() -> None:
    seen = Readings(key_rank={(0, 0): 1.0}, max_logit={(0, 0): 500.0}, full=False)
    alarms = Alarms()
    for step in range(1, 6):
        alarms.judge(step, seen)
    assert [alarm.kind for alarm in alarms.found] == ["logits"]


def test_kinds_are_named_or_refused() -> None:
    assert kinds_of("stop_on", "any") == set(KINDS) and kinds_of("stop_on", ["sink", "logits"]) == {"sink", "logits"}
    with pytest.raises(UsageError, match=r"stop_on: expected any or some of logits, .* got 'sinks'"):
        kinds_of("stop_on", "sinks")
