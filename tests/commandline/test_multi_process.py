"""``torchrun -m heedful``: the report of one process, uneven shards, and ranks that are lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.loading import material
from tests.loading.own_model import MODULE
from typer.testing import CliRunner

import heedful
from heedful.app import app
from heedful.commandline.multi_process import own_device, ranks_of_this_run, speaks
from heedful.errors import UsageError

LOST = """
import os, signal, torch
import own_gpt
RANK = os.environ.get("RANK")

class Dying(own_gpt.GPT):
    def forward(self, idx, targets=None):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 4 and RANK == "1":
            self.die()
        return super().forward(idx, targets)

class Killed(Dying):
    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

class Raising(Dying):
    def die(self):
        raise RuntimeError("this rank has had enough")

def killed():
    return Killed(own_gpt.Config())

def raising():
    return Raising(own_gpt.Config())

def different():
    torch.manual_seed(int(RANK))
    return own_gpt.build()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own_gpt.py").write_text(MODULE)
    (tmp_path / "lost.py").write_text(LOST)
    material.save_model(tmp_path / "model")
    rows = [json.dumps({"text": material.make_text(20, seed)}) for seed in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows) + "\n")
    return tmp_path


def run(folder: Path, processes: int, *words: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    variables = {**os.environ, "PYTHONPATH": str(Path(heedful.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    words = (*words, "--text", "a.jsonl", "--seq-len", "64")
    return subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), "-m", "heedful", *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
@pytest.mark.parametrize("sequences", ["80", "18"])
def test_the_report_is_that_of_one_process(sequences: str, folder: Path) -> None:
    """80 sequences are three batches, which two ranks cannot share evenly; 18 are one, which leaves a rank without."""
    words = ["validate", "model", "--sequences", sequences, "--preset", "full", "--null-models", "3", "--json"]
    found: list[Any] = []
    for processes in (1, 2):
        done = run(folder, processes, *words, f"{processes}.json")
        assert done.returncode in (0, 1) and not errors(done), done.stderr
        assert done.stderr.count("wrote ") == 1
        found.append(json.loads((folder / f"{processes}.json").read_text()))
        found[-1].pop("run")
    assert found[0] == found[1]
    assert found[0]["data"]["sequences"] == int(sequences) and len(found[0]["heads"]) == 4


@pytest.mark.slow
def test_the_head_table_is_printed_once(folder: Path) -> None:
    one, two = (run(folder, processes, "heads", "model", "--sequences", "80", "--json", "-") for processes in (1, 2))
    assert one.returncode == two.returncode == 0, two.stderr
    assert json.loads(one.stdout) == json.loads(two.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("killed", ("rank 1 of 2", "with all its ranks")),
        ("raising", ("this rank has had enough",)),
        ("different", ("the processes hold different weights",)),
    ],
)
def test_a_lost_rank_ends_the_run_with_one_line_and_no_report(
    function: str, says: tuple[str, ...], folder: Path
) -> None:
    words = ["--factory", f"lost:{function}", "--tokenizer", "model", "--sequences", "80", "--json", "report.json"]
    done = run(folder, 2, "validate", *words)
    assert done.returncode != 0 and done.stdout == ""
    message = errors(done)
    assert len(message) == 1 and any(word in message[0] for word in says), done.stderr
    assert not (folder / "report.json").exists() and not list(folder.glob("*.tmp*"))


def test_alone_there_are_no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with ranks_of_this_run() as ranks:
        assert ranks is None and speaks(ranks) and own_device("cuda") == "cuda"


def test_a_strange_environment_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(UsageError, match="WORLD_SIZE=many"), ranks_of_this_run():
        pass


def test_cuda_is_one_device_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert (own_device("cuda"), own_device("cuda:1"), own_device("cpu")) == ("cuda:2", "cuda:1", "cpu")


def test_auto_is_one_device_a_process_or_the_cpu_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    for devices, chosen in ((0, "cpu"), (1, "cpu"), (2, "cuda:1")):
        monkeypatch.setattr("torch.cuda.device_count", lambda devices=devices: devices)
        assert own_device("auto") == chosen
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert own_device("auto") == "auto"


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0), ("", 1)])
def test_what_every_rank_refuses_is_told_by_one(
    rank: str, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    monkeypatch.setenv("RANK", rank) if rank else monkeypatch.delenv("RANK", raising=False)
    done = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "full")])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (5, "", lines)
