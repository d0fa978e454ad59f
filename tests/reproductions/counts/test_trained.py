"""Runs of a sweep become the tables that claims on training are judged on."""

from __future__ import annotations

import json
from pathlib import Path

import polars
import pytest
from reproductions.counts.trained import DRIFT, LOSSES, gather

from heedful.errors import InputRejected
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.plan_file import read_plan

PLAN = """recipe: derived
fixed: {units: characters, length: 16, steps: 1}
cells:
  none: {arm: none}
  content, frozen: {changes: width=96}
seeds: [0, 1]
"""


def sweep_of(folder: Path) -> SweepFolder:
    (folder / "plan.yaml").write_text(PLAN, encoding="utf-8")
    found = SweepFolder(folder / "sweep")
    found.adopt(read_plan(folder / "plan.yaml"))
    return found


def test_only_finished_runs_are_gathered_by_cell_and_seed(tmp_path: Path) -> None:
    folder = sweep_of(tmp_path)
    for run in folder.plan().runs:
        place = folder.place(run)
        (place.path / "trained").mkdir(parents=True)
        lines = [{"id": "a", "tokens": 3, "loss": 1.0 + run.seed}, {"id": "short", "tokens": 1, "loss": None}]
        (place.path / "trained" / "held_out_documents.jsonl").write_text("\n".join(map(json.dumps, lines)))
        (place.path / "trained" / "drift.csv").write_text("step,layer,head,skill\n0,0,0,0.5\n")
        if run.axes["cell"] == "none":
            place.measures.write_text("{}")
    gather(tmp_path / "sweep", tmp_path)
    losses = polars.read_parquet(tmp_path / f"{LOSSES}.parquet")
    assert losses.rows() == [("none", 0, "a", 1.0), ("none", 1, "a", 2.0)]
    assert polars.read_parquet(tmp_path / f"{DRIFT}.parquet").rows() == [
        ("none", 0, 0, 0, 0, 0.5),
        ("none", 1, 0, 0, 0, 0.5),
    ]


def test_a_sweep_without_finished_runs_is_refused(tmp_path: Path) -> None:
    sweep_of(tmp_path)
    with pytest.raises(InputRejected, match="no finished run"):
        gather(tmp_path / "sweep", tmp_path)
    assert not list(tmp_path.glob("*.parquet"))
