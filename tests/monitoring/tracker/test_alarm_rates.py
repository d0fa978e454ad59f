"""Alarms of small trainings: at most one on five healthy ones; on diverging ones before the loss, in four of five."""

from pathlib import Path

import pytest
from tests.monitoring.tracker.small_runs import DIVERGING, HEALTHY, diverged, trained

pytestmark = pytest.mark.slow


def test_healthy_runs_raise_at_most_one_alarm(tmp_path: Path) -> None:
    found = {}
    for name, run in HEALTHY.items():
        losses, alarms = trained(run, tmp_path / name)
        assert diverged(losses) is None and losses[-1] < losses[0] - 2, "the run is not healthy"
        found[name] = [f"{alarm.step}: {alarm.message}" for alarm in alarms]
    assert sum(map(len, found.values())) <= 1, found


def test_diverging_runs_raise_an_alarm_before_the_loss_does(tmp_path: Path) -> None:
    early = {}
    for name, run in DIVERGING.items():
        losses, alarms = trained(run, tmp_path / name)
        place = diverged(losses)
        assert place is not None, f"{name}: the loss did not diverge"
        early[name] = (alarms[0].step if alarms else None, place)
    before = [first is not None and first < place for first, place in early.values()]
    assert sum(before) >= 4, early
