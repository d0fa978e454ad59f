"""A sweep over several processes: each run once, failures apart, others waited for, nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from heedful.errors import UsageError
from heedful.training.sweeps import parallel
from heedful.training.sweeps.claim import claimed
from heedful.training.sweeps.folder import Standing, State, SweepFolder
from heedful.training.sweeps.one_run import make_run
from heedful.training.sweeps.parallel import Share, View, run_command, run_sweep
from heedful.training.sweeps.plan import SweepPlan
from heedful.training.sweeps.plan_file import read_plan
from heedful.training.sweeps.recipe import RunMeasure, save_measured

PLAN = "recipe: random_attention\nfixed: {keys: 8, heads: 2}\naxes: {dim: [2, 4]}\nseeds: [0, 1, 2]\n"
SECOND = "second"
WAIT = (
    "import pathlib, sys, time\n"
    f"while not (pathlib.Path(sys.argv[1]).parents[1] / '{SECOND}').exists(): time.sleep(0.01)\n"
)
FINISH = 'import pathlib, sys; p = pathlib.Path(sys.argv[1]) / "measures.json"; \
p.write_text(\'{"schema": "heedful.measures/1", "measures": []}\')'

POPEN = subprocess.Popen


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SweepPlan, SweepFolder]:
    (tmp_path / "plan.yaml").write_text(PLAN)
    plan, folder = read_plan(tmp_path / "plan.yaml"), SweepFolder(tmp_path / "S")
    folder.adopt(plan)
    monkeypatch.setattr(parallel, "TICK", 0.01)
    monkeypatch.setattr(parallel, "BETWEEN_SEARCHES", 0.05)
    monkeypatch.setattr(parallel, "GRACE", 5.0)
    return plan, folder


def scripts(monkeypatch: pytest.MonkeyPatch, folder: SweepFolder, of: dict[str, str], most: list[int]) -> None:
    """In place of a process of heedful, one that runs a line of Python on the run's folder."""
    alive: list[Any] = []

    def begin(words: list[str], **options: Any) -> Any:
        name = words[words.index("--only") + 1]
        place = str(folder.path / "runs" / name)
        code = (WAIT if len(alive) < 2 else "") + of.get(name, FINISH)  # the first two, until both are counted
        alive.append(POPEN([sys.executable, "-S", "-c", code, place], **options))
        most.append(sum(child.poll() is None for child in alive))
        if len(alive) == 2:
            (folder.path / SECOND).touch()
        return alive[-1]

    monkeypatch.setattr(parallel.subprocess, "Popen", begin)


def test_each_run_is_made_and_a_failed_one_stops_none(
    planned: tuple[SweepPlan, SweepFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder = planned
    names = [run.fingerprint for run in plan.runs]
    broken = {
        names[1]: "import sys; sys.exit('error: this is why')",
        names[2]: "import os; os.kill(os.getpid(), 9)",
        names[4]: "",
    }
    most: list[int] = []
    scripts(monkeypatch, folder, broken, most)
    ended: list[Standing] = []
    views: list[View] = []
    found = run_sweep(plan, folder, Share(2, 1), look=views.append, ended=ended.append)
    assert [standing.state is State.FINISHED for standing in found] == [True, False, False, True, False, True]
    assert found[1].detail == "exit code 1: this is why"
    assert found[2].detail == "its process was ended by SIGKILL (out of memory?)"
    assert found[4].detail == "exit code 0"
    assert max(most) == 2 and len(most) == 6 and len(ended) == 6
    assert (views[-1].finished, views[-1].failed, views[-1].working) == (3, 3, [])
    most.clear()
    scripts(monkeypatch, folder, {}, most)
    assert all(standing.state is State.FINISHED for standing in run_sweep(plan, folder, Share(2, 1)))
    assert len(most) == 3


def test_runs_of_others_are_waited_for_and_taken_over(
    planned: tuple[SweepPlan, SweepFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is finished by its holder, one is given up, one fails there; the failed one is not tried again here."""
    plan, folder = planned
    places = [folder.place(run) for run in plan.runs[:3]]
    for place in places:
        place.path.mkdir(parents=True)
    ready, seen = threading.Event(), threading.Event()

    def elsewhere() -> None:
        with claimed(places[0].path), claimed(places[1].path), claimed(places[2].path):
            ready.set()
            seen.wait(30)
            save_measured(places[0].measures, [RunMeasure(measure="a", value=1.0)], {})
            places[2].fail("broke over there")

    def look(view: View) -> None:
        if view.elsewhere == 3 and view.finished == 3:
            seen.set()

    most: list[int] = []
    scripts(monkeypatch, folder, {}, most)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    ready.wait()
    found = run_sweep(plan, folder, Share(2, 1), look=look)
    thread.join()
    assert [standing.state for standing in found] == [State.FINISHED] * 2 + [State.FAILED] + [State.FINISHED] * 3
    assert found[2].detail == "broke over there" and len(most) == 4


def test_stopped_it_leaves_no_process(planned: tuple[SweepPlan, SweepFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, folder = planned
    wait = "import pathlib, sys, time; pathlib.Path(sys.argv[1], 'here').touch(); time.sleep(60)"
    scripts(monkeypatch, folder, dict.fromkeys([run.fingerprint for run in plan.runs], wait), [])
    children: list[Any] = []
    began = parallel._Sweep._started
    monkeypatch.setattr(
        parallel._Sweep, "_started", lambda self, run: children.append(began(self, run)) or children[-1]
    )

    def look(_view: View) -> None:
        if len(list(folder.path.glob("runs/*/here"))) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(plan, folder, Share(2, 1), look=look)
    assert [child.poll() for child in children] == [-signal.SIGTERM] * 2
    assert {standing.state for standing in folder.standings(plan)} == {State.STOPPED, State.WAITING}


def test_the_machine_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 8)
    assert Share.of_machine(None, 1) == Share(8, 1) and Share.of_machine(None, 3) == Share(2, 3)
    assert Share.of_machine(None, 20) == Share(1, 20) and Share.of_machine(4, 2) == Share(4, 2)
    with pytest.raises(UsageError, match="5 processes of 2 threads are more than the 8 cores"):
        Share.of_machine(5, 2)


@pytest.mark.slow
def test_a_killed_sweep_loses_no_finished_run(planned: tuple[SweepPlan, SweepFolder]) -> None:
    """Real processes: the sweep is killed, its children leave by themselves, and the same command goes on."""
    plan, folder = planned
    make_run(plan, plan.runs[0], folder)
    kept = folder.place(plan.runs[0]).measures
    before = kept.stat().st_mtime_ns
    words = [sys.executable, "-m", "heedful", "sweep", str(folder.path.parent / "plan.yaml"), "--out", str(folder.path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as sweep:
        while sum(place.finished for place in map(folder.place, plan.runs)) < 3:
            assert sweep.poll() is None, sweep.communicate()
            time.sleep(0.02)
        sweep.kill()
    for _ in range(600):
        if not any(standing.state is State.RUNNING for standing in folder.standings(plan)):
            break
        time.sleep(0.1)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "SWEEP random_attention: 6 of 6 runs finished, 2 cells x 3 seeds" in done.stdout
    assert kept.stat().st_mtime_ns == before
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.slow
def test_the_printed_command_makes_the_run(planned: tuple[SweepPlan, SweepFolder]) -> None:
    plan, folder = planned
    command = run_command(plan, plan.runs[3], folder, 1)
    words = command.replace("heedful", f"{sys.executable} -m heedful", 1)
    done = subprocess.run(words, shell=True, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert [standing.run.number for standing in folder.standings(plan) if standing.state is State.FINISHED] == [4]
