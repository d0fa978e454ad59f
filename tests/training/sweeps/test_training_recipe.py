"""Training runs of a sweep: measured, tracked, and after a kill gone on with to the same numbers."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heedful.monitoring.tracker.table import read_table
from heedful.training.run_folder import RunFolder
from heedful.training.sweeps.folder import State, SweepFolder
from heedful.training.sweeps.one_run import make_run
from heedful.training.sweeps.plan import SweepPlan
from heedful.training.sweeps.plan_file import read_plan
from heedful.training.sweeps.recipe import read_measured
from heedful.training.sweeps.training_recipe import Stopwatch, memory_peak

PLAN = """recipe: decoder
fixed: {steps: %d, save_every: %d, batch: 2, length: 16, vocabulary: 270, learning_rate: 1e-2}
seeds: [0]
track: %d
"""


def planned(folder: Path, steps: int, every: int) -> tuple[SweepPlan, SweepFolder]:
    (folder / "plan.yaml").write_text(PLAN % (steps, every, every))
    plan, sweep = read_plan(folder / "plan.yaml"), SweepFolder(folder / "S")
    sweep.adopt(plan)
    return plan, sweep


def values(sweep: SweepFolder, plan: SweepPlan) -> dict[tuple[Any, ...], float | None]:
    """What was measured, but for time, memory and the tracker, whose sample of a batch begins anew."""
    measured, _ = read_measured(sweep.place(plan.runs[0]).measures)
    free = ("step_time", "peak_memory", "memory_before", "peak_device_memory", "alarms")
    return {(m.measure, m.layer, m.head): m.value for m in measured if m.measure not in free and "." not in m.measure}


@pytest.mark.slow
def test_stopped_before_and_after_a_checkpoint_it_ends_as_if_it_had_not(tmp_path: Path) -> None:
    """The tracker's table of steps that are made again is made again too."""
    (tmp_path / "whole").mkdir()
    plan, whole = planned(tmp_path / "whole", 6, 2)
    assert make_run(plan, plan.runs[0], whole)
    trained = whole.place(plan.runs[0]).path / "trained"
    found, _ = read_measured(whole.place(plan.runs[0]).measures)
    by_name = {one.measure: one for one in found}
    loss = by_name["held_out_loss"]
    assert loss.value is not None and loss.n is not None and 3 < loss.value < 6 and loss.n > 1000
    assert by_name["perplexity"].value == pytest.approx(2.718281828**loss.value)
    assert by_name["training_loss"].value is not None
    assert by_name["step_time"].n == 5 and (by_name["step_time"].value or 0) > 0
    assert (by_name["peak_memory"].value or 0) >= (by_name["memory_before"].value or 0) > 100
    spread = [one for one in found if one.measure == "concentration"]
    assert [(one.layer, one.head) for one in spread] == [(layer, head) for layer in (0, 1) for head in range(4)]
    assert all(one.unit == "nat" and one.verdict and (one.n or 0) >= 16 for one in spread), spread[0]
    assert sorted(read_table(trained)["step"].unique()) == [1, 2, 4, 6]
    assert sum(one.measure == "attention.entropy_share" for one in found) == 8

    _, sweep = planned(tmp_path, 6, 2)

    def stop(at: int) -> Any:
        def progress(done: int, _total: int, what: str) -> None:
            if done == at and what.startswith("training"):
                raise KeyboardInterrupt

        return progress

    for at in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            make_run(plan, plan.runs[0], sweep, progress=stop(at))
        assert sweep.standings(plan)[0].state is State.STOPPED
    assert make_run(plan, plan.runs[0], sweep)
    assert values(sweep, plan) == values(whole, plan)


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    plan, whole = planned(tmp_path / "whole", 120, 20)
    make_run(plan, plan.runs[0], whole)
    _, sweep = planned(tmp_path, 120, 20)
    place = sweep.place(plan.runs[0])
    words = [sys.executable, "-m", "heedful", "sweep", str(tmp_path / "plan.yaml"), "--out", str(sweep.path)]
    with subprocess.Popen([*words, "--only", "1"], stderr=subprocess.PIPE, text=True) as process:
        while RunFolder(place.path / "trained").last_checkpoint() is None:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.kill()
    assert not place.finished and sweep.standings(plan)[0].state is State.STOPPED
    begun = (place.path / "trained" / "run.json").stat().st_mtime_ns
    assert make_run(plan, plan.runs[0], sweep)
    assert (place.path / "trained" / "run.json").stat().st_mtime_ns == begun
    assert values(sweep, plan) == values(whole, plan)


def test_times_are_those_of_the_process_that_took_most_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.5, 1.5, 2.5, 103.5, 104.5, 200.0, 209.0])
    monkeypatch.setattr(
        "heedful.training.sweeps.training_recipe.time", SimpleNamespace(perf_counter=lambda: next(clock))
    )
    first = Stopwatch(tmp_path / "timing.json")
    for step in range(1, 6):
        first.step(step, 5)
    found = {one.measure: one for one in first.measured()}
    assert (found["step_time"].value, found["step_time"].n) == (1.0, 4)  # an evaluation of 100 s changes nothing
    second = Stopwatch(tmp_path / "timing.json")
    second.step(4, 5)
    second.step(5, 5)
    found = {one.measure: one for one in second.measured()}
    assert (found["step_time"].value, found["step_time"].n) == (1.0, 4)
    assert found["peak_memory"].value == pytest.approx((memory_peak() or 0) / 2**20, rel=0.2)
    assert Stopwatch(tmp_path / "none.json").measured()[0].value is None
