"""Held-out loss over documents: paired within a seed, a document counted once, nothing said of too few."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from heedful.inference.mean_interval import mean_interval
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.plan_file import read_plan
from heedful.training.sweeps.result import read_sweep
from heedful.training.sweeps.table import over_documents

PLAN = """recipe: derived
fixed: {units: characters}
cells: {first: {arm: none}, second: {}}
seeds: [0, 1]
"""


def sweep_of(place: Path, losses: dict[tuple[str, int], dict[str, float]]) -> SweepFolder:
    (place / "plan.yaml").write_text(PLAN)
    plan, folder = read_plan(place / "plan.yaml"), SweepFolder(place / "S")
    folder.adopt(plan)
    for run in plan.runs:
        trained = folder.place(run).path / "trained"
        trained.mkdir(parents=True)
        rows = losses[str(run.axes["cell"]), run.seed]
        lines = [json.dumps({"id": name, "tokens": 9, "loss": loss}) + "\n" for name, loss in rows.items()]
        (trained / "held_out_documents.jsonl").write_text("".join(lines))
        document = {"schema": "heedful.measures/1", "measures": [{"measure": "held_out_loss", "value": 1.0}]}
        folder.place(run).measures.write_text(json.dumps(document))
    return folder


def losses(documents: int) -> dict[tuple[str, int], dict[str, float]]:
    draw = np.random.default_rng(0)
    base = draw.normal(2, 1, documents)
    found: dict[tuple[str, int], dict[str, float]] = {}
    for seed in (0, 1):
        names = [f"d{n}" for n in range(documents)]
        first = {name: float(base[n] + seed) for n, name in enumerate(names)}
        found["first", seed] = first
        found["second", seed] = {name: first[name] + 0.1 + 0.01 * n for n, name in enumerate(names)}
    return found


def test_cells_are_compared_on_the_same_documents(tmp_path: Path) -> None:
    given = losses(20)
    folder = sweep_of(tmp_path, given)
    plan = folder.plan()
    first, second = over_documents(plan, folder).to_dicts()
    assert first["cell"] == "first" and first["documents"] == 20 and first["against_first"] is None
    apart = 0.1 + 0.01 * np.arange(20)
    wanted = mean_interval(np.array([apart[int(name[1:])] for name in sorted(given["first", 0])])[:, None])
    assert second["against_first"] == pytest.approx(apart.mean())
    assert second["against_low"] == pytest.approx(float(wanted.low[0]))
    assert second["against_high"] - second["against_low"] < 0.1 < first["high"] - first["low"]
    back = over_documents(plan, folder, {"cell": "second"}).to_dicts()[0]
    assert back["against_first"] == pytest.approx(-apart.mean())
    lines = read_sweep(folder).lines()
    assert any("paired by document and seed" in line for line in lines) and max(map(len, lines)) <= 80
    assert any(path.name == "documents.csv" for path in read_sweep(folder).save(folder.path))


def test_few_documents_have_no_interval(tmp_path: Path) -> None:
    second = over_documents((folder := sweep_of(tmp_path, losses(15))).plan(), folder).to_dicts()[1]
    assert second["against_first"] == pytest.approx(0.17) and second["against_low"] is None
