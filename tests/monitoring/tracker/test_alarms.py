"""Planted series: one sign alone never alarms, two do, and the words name the head."""

import math
import random

from heedful.monitoring.tracker.alarms import Alarms


def watched(
    steps: int, *, entropy: float = 0.5, late_loss: float = 0.0, spike: float = 1.0, spread: float = 2.0
) -> dict[int, list[str]]:
    """Alarms by step of a noisy run whose last fifth has the given late loss, gradient spike and spread."""
    draw, alarms, found = random.Random(0), Alarms(), {}
    for step in range(1, steps + 1):
        late = step > 0.8 * steps
        alarms.loss(4.0 - step / steps + draw.gauss(0, 0.05) + (late_loss if late else 0.0))
        if step % 10 == 0:
            shares = {"L0H0": 0.6, "L1H2": entropy if step > 0.3 * steps else 0.5}
            norm = draw.uniform(0.8, 1.2) * (spike if late else 1.0)
            said = alarms.judge(step, shares, {"L0H0": 2.0, "L1H2": spread if late else 2.0}, norm, 0.0)
            if said:
                found[step] = said
    return found


def test_a_calm_run_is_silent() -> None:
    assert watched(400) == {}


def test_low_entropy_alone_is_no_collapse() -> None:
    assert watched(400, entropy=0.02) == {}


def test_instability_alone_is_no_collapse() -> None:
    assert watched(400, late_loss=1.0) == {} and watched(400, spike=20.0) == {}


def test_low_entropy_with_a_risen_loss_is_collapse() -> None:
    found = watched(400, entropy=0.02, late_loss=1.0)
    assert min(found) >= 320 and "collapse: L1H2" in found[max(found)][0] and "loss up" in found[max(found)][0]


def test_low_entropy_with_a_gradient_spike_is_collapse() -> None:
    found = watched(400, entropy=0.02, spike=20.0)
    assert 330 in found and "gradient norm" in found[330][0]


def test_low_entropy_must_last() -> None:
    alarms, said = Alarms(), []
    for step in range(10, 110, 10):
        norm = 50.0 if step in (90, 100) else 1.0
        said += alarms.judge(step, {"L0H0": 0.05 if step >= 60 else 0.5}, {}, norm, 0.0)
    assert said == []
    assert Alarms().judge(1, {"L0H0": 0.0}, {}, 1.0, 0.0) == []


def test_a_wide_spread_alone_is_no_explosion_and_with_a_spike_it_is() -> None:
    assert watched(400, spread=30.0) == {}
    found = watched(400, spread=30.0, spike=20.0)
    assert "explosion: logits of L1H2" in found[330][0]


def test_what_is_not_finite_explodes_at_once() -> None:
    assert "not finite" in Alarms().judge(1, {}, {}, 1.0, 3.0)[0]
    assert "gradient" in Alarms().judge(1, {}, {}, math.inf, 0.0)[0]
    alarms = Alarms()
    alarms.loss(math.nan)
    assert "loss" in alarms.judge(1, {}, {}, math.nan, 0.0)[0] and alarms.judge(2, {}, {}, math.nan, 0.0) == []
