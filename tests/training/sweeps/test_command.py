"""The command line of sweeps: its words, its messages, its exit codes; the runs are made in other tests."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from heedful.app import app
from heedful.training.sweeps.folder import Standing, State, SweepFolder
from heedful.training.sweeps.one_run import make_run
from heedful.training.sweeps.plan import SweepPlan
from heedful.training.sweeps.plan_file import read_plan

PLAN = "recipe: random_attention\nfixed: {keys: 8, heads: 2}\naxes: {dim: [2, 4]}\nseeds: [0, 1]\n"


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "plan.yaml").write_text(PLAN)
    return ["sweep", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "S")]


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def in_this_process(monkeypatch: pytest.MonkeyPatch, broken: int | None = None) -> None:
    def run_sweep(plan: SweepPlan, folder: SweepFolder, share: Any, *, look: Any, ended: Any) -> None:
        for run in plan.runs:
            if run.number == broken:
                folder.place(run).path.mkdir()
                folder.place(run).fail("it broke")
                ended(Standing(run, State.FAILED, "it broke"))
            elif make_run(plan, run, folder):
                ended(Standing(run, State.FINISHED))

    monkeypatch.setattr("heedful.training.sweeps.parallel.run_sweep", run_sweep)


def test_a_sweep_ends_with_its_table_and_goes_on(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)
    done = invoke(*words)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "SWEEP random_attention: 4 of 4 runs finished, 2 cells x 2 seeds"
    assert re.match(r"4 runs; \d+ process(es)? of 1 thread\nfinished: run 1, dim=2 seed=0\n", done.stderr)
    assert {path.name for path in Path(words[3]).glob("*.csv")} == {"table.csv", "intervals.csv"}
    again = invoke(*words)
    assert again.exit_code == 0 and again.stdout == done.stdout and "finished:" not in again.stderr
    shown = invoke("sweep", "table", words[3], "--measure", "max_weight", "--heads")
    assert shown.exit_code == 0 and shown.stdout.count("L0H1") == 2
    page = Path(words[3]).parent / "page.html"
    assert invoke("sweep", "table", words[3], "--html", str(page)).exit_code == 0
    assert invoke(*words, "--html", str(page)).exit_code == 0 and "less the first cell" in page.read_text("utf-8")
    document = json.loads(invoke("sweep", "table", words[3], "--json", "-").stdout)
    assert [run["state"] for run in document["runs"]] == ["finished"] * 4
    assert json.loads(invoke(*words, "--json", "-").stdout) == document


def test_a_failed_run_is_listed_and_is_exit_code_one(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch, broken=2)
    done = invoke(*words)
    assert done.exit_code == 1
    assert "failed: run 2, dim=2 seed=1: it broke" in done.stderr
    assert "NOT FINISHED\n  failed: dim=2 seed=1: it broke\n" in done.stdout
    assert invoke("sweep", "table", words[3]).exit_code == 0


def test_commands_are_listed_for_what_is_not_finished(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    listed = invoke(*words, "--list-commands")
    assert listed.exit_code == 0
    commands = [shlex.split(line) for line in listed.stdout.splitlines()]
    assert len(commands) == 4 and all(command[0] == "heedful" for command in commands)
    made = invoke(*commands[1][1:])
    assert made.exit_code == 0, made.output
    assert made.stderr.endswith("finished: run 2, dim=2 seed=1\n")
    assert len(invoke(*words, "--list-commands").stdout.splitlines()) == 3
    again = invoke(*words, "--only", "2")
    assert again.exit_code == 0 and "was finished already: run 2" in again.stderr


def test_a_changed_plan_is_told_in_one_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)
    invoke(*words)
    Path(words[1]).write_text(PLAN.replace("[0, 1]", "[1, 2]"))
    done = invoke(*words)
    assert done.exit_code == 0
    message = (
        "the plan changed: 2 of 4 runs stand here already and are kept, 2 are new; 2 no longer planned stay in runs"
    )
    assert message in done.stderr.splitlines()[0]
    assert "4 of 4 runs finished" in done.stdout


def test_ctrl_c_says_how_to_go_on(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def run_sweep(plan: SweepPlan, folder: SweepFolder, *_: Any, **__: Any) -> None:
        make_run(plan, plan.runs[0], folder)
        raise KeyboardInterrupt

    monkeypatch.setattr("heedful.training.sweeps.parallel.run_sweep", run_sweep)
    done = invoke(*words)
    assert done.exit_code == 130
    last = done.stderr.splitlines()[-1]
    assert (
        "interrupted after 1 of 4 runs: run the same command again to continue (nothing was left half-written)" in last
    )


@pytest.mark.fault
@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--only", "9"], 2, "--only 9: expected a number from 1 to 4"),
        (["--only", "1", "--list-commands"], 2, "--only: makes one run in this process"),
        (["--processes", "9999"], 2, "--processes: 9999 processes of 1 threads are more than"),
    ],
)
def test_wrong_words_are_one_line(more: list[str], code: int, told: str, words: list[str]) -> None:
    done = invoke(*words, *more)
    assert done.exit_code == code and done.stderr.startswith(f"error: {told}") and done.stderr.count("\n") == 1
    assert not (Path(words[3]) / "runs").exists()


@pytest.mark.fault
def test_missing_things_are_one_line(tmp_path: Path, words: list[str]) -> None:
    for given, code, message in (
        (["sweep", str(tmp_path / "absent.yaml"), "--out", words[3]], 2, "expected a file or folder, found none"),
        (["sweep", "table", str(tmp_path)], 2, "no plan.json, so no sweep"),
        ([*words[:3], str(tmp_path)], 5, "not an empty folder and no sweep"),
    ):
        done = invoke(*given)
        assert done.exit_code == code and message in done.stderr and done.stderr.count("\n") == 1


def test_help_names_both_commands_and_fits() -> None:
    for given in (["sweep", "--help"], ["sweep", "run", "-h"], ["sweep", "table", "-h"]):
        done = invoke(*given)
        assert done.exit_code == 0 and max(map(len, done.stdout.splitlines())) <= 80
    assert "run" in invoke("sweep", "--help").stdout and "table" in invoke("sweep", "--help").stdout


def test_the_plan_is_the_folder_s_own_for_its_processes(words: list[str]) -> None:
    """The user may change the file while a sweep runs."""
    listed = invoke(*words, "--list-commands").stdout.splitlines()
    before = SweepFolder(Path(words[3])).plan()
    Path(words[1]).write_text("recipe: nothing")
    assert invoke(*shlex.split(listed[0])[1:]).exit_code == 0
    assert SweepFolder(Path(words[3])).plan() == before
    assert read_plan(Path(shlex.split(listed[0])[3])) == before


def test_a_plan_of_the_package_is_run_by_its_name(tmp_path: Path) -> None:
    listed = invoke("sweep", "kappa", "--out", str(tmp_path / "S"), "--list-commands")
    assert listed.exit_code == 0, listed.output
    assert len(listed.stdout.splitlines()) == 18 and (tmp_path / "S" / "plan.json").is_file()
