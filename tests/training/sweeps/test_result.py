"""Tables of a sweep: tidy rows, intervals over seeds against closed forms, a page of 80 columns."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import polars
import pytest
from scipy import stats

from heedful.errors import UsageError
from heedful.reporting.pages.html import page_html
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.plan import SweepPlan
from heedful.training.sweeps.plan_file import read_plan
from heedful.training.sweeps.recipe import RunMeasure, save_measured
from heedful.training.sweeps.result import WIDTH, Result, _row, page_lines, read_sweep

PLAN = "recipe: random_attention\naxes: {dim: [2, 4], keys: [8]}\nseeds: [0, 1, 2]\n"
LOSS = {2: [1.0, 2.0, 4.0], 4: [1.5, 2.5, 4.6]}


def swept(tmp_path: Path, plan_text: str = PLAN) -> tuple[SweepPlan, SweepFolder]:
    (tmp_path / "plan.yaml").write_text(plan_text)
    plan, folder = read_plan(tmp_path / "plan.yaml"), SweepFolder(tmp_path / "S")
    folder.adopt(plan)
    for run in plan.runs:
        value = LOSS[int(run.axes["dim"] or 0)][run.seed]
        rows = [RunMeasure(measure="held_out_loss", value=value, unit="nat/token", n=10)]
        for head, factor in enumerate((1.0, 3.0)):
            label = f"l{head}"
            rows.append(
                RunMeasure(measure="concentration", value=factor * value, unit="nat", layer=0, head=head, label=label)
            )
        folder.place(run).path.mkdir(parents=True)
        save_measured(folder.place(run).measures, rows, {})
    return plan, folder


def row(result: Result, dim: int, **subject: object) -> dict[str, object]:
    found = result.intervals.filter(dim=dim, **subject)
    assert len(found) == 1
    return found.to_dicts()[0]


def test_the_table_is_tidy(tmp_path: Path) -> None:
    plan, folder = swept(tmp_path)
    table = read_sweep(folder).table
    assert table.columns == [
        "run", "dim", "keys", "seed", "layer", "head", "label", "verdict", "measure", "value", "unit", "n",
    ]  # fmt: skip
    assert len(table) == 6 * 3 and table.schema["dim"] == polars.Int64
    one = table.filter(dim=4, seed=2, head=1).to_dicts()[0]
    assert one["run"] == plan.runs[5].fingerprint and one["value"] == pytest.approx(13.8) and one["label"] == "l1"


def test_intervals_are_students_and_differences_are_paired(tmp_path: Path) -> None:
    _, folder = swept(tmp_path)
    result = read_sweep(folder)
    found = row(result, 4, measure="held_out_loss")
    half = stats.t.ppf(0.975, 2) * stats.tstd(LOSS[4]) / math.sqrt(3)
    mean = sum(LOSS[4]) / 3
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((mean, mean - half, mean + half))
    differences = [b - a for a, b in zip(LOSS[2], LOSS[4], strict=True)]
    half = stats.t.ppf(0.975, 2) * stats.tstd(differences) / math.sqrt(3)
    middle = sum(differences) / 3
    shown = (found["against_first"], found["against_low"], found["against_high"])
    assert shown == pytest.approx((middle, middle - half, middle + half)) and found["seeds"] == 3
    assert row(result, 2, measure="held_out_loss")["against_first"] is None
    head = row(result, 4, measure="concentration", label="l1")
    assert head["mean"] == pytest.approx(3 * mean) and head["against_first"] == pytest.approx(3 * middle)
    whole = row(result, 4, measure="concentration", label="all heads")
    assert whole["mean"] == pytest.approx(2 * mean) and whole["against_first"] == pytest.approx(2 * middle)


def test_a_missing_seed_is_left_out_of_both_sides(tmp_path: Path) -> None:
    plan, folder = swept(tmp_path)
    folder.place(plan.runs[0]).measures.unlink()
    folder.place(plan.runs[4]).measures.unlink()
    result = read_sweep(folder)
    assert row(result, 2, measure="held_out_loss")["mean"] == pytest.approx(3.0)
    found = row(result, 4, measure="held_out_loss")
    assert found["mean"] == pytest.approx((1.5 + 4.6) / 2) and found["against_first"] == pytest.approx(0.6)
    assert found["against_low"] is None and found["seeds"] == 2
    lines = result.lines()
    assert lines[0] == "SWEEP random_attention: 4 of 6 runs finished, 2 cells x 3 seeds"
    assert "  stopped: dim=2 keys=8 seed=0" in lines and "(one seed)" in "\n".join(lines)


def test_a_cell_without_any_run_and_a_sweep_without_any(tmp_path: Path) -> None:
    plan, folder = swept(tmp_path)
    for run in plan.runs[:3]:
        folder.place(run).measures.unlink()
    assert row(read_sweep(folder), 4, measure="held_out_loss")["against_first"] is None
    for run in plan.runs[3:]:
        folder.place(run).measures.unlink()
    result = read_sweep(folder)
    assert len(result.table) == len(result.intervals) == 0
    assert "0 of 6 runs finished" in result.lines()[0]
    result.save(tmp_path)


def test_many_seeds_are_resampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {2: [float(k * k) for k in range(17)], 4: [float(k) for k in range(17)]}
    monkeypatch.setitem(LOSS, 2, values[2])
    monkeypatch.setitem(LOSS, 4, values[4])
    _, folder = swept(tmp_path, PLAN.replace("[0, 1, 2]", json.dumps(list(range(17)))))
    found = row(read_sweep(folder), 2, measure="held_out_loss")
    mean = sum(values[2]) / 17
    assert found["mean"] == pytest.approx(mean)
    low, high = float(str(found["low"])), float(str(found["high"]))
    assert high - mean > 1.1 * (mean - low)


def test_the_page_fits_and_says_what_else_there_is(tmp_path: Path) -> None:
    _, folder = swept(tmp_path)
    result = read_sweep(folder)
    lines = result.lines()
    assert max(map(len, lines)) <= 80
    assert "concentration (nat), mean over heads" in lines
    assert any(line.split()[:2] == ["4", "8"] and "| 0.533 [" in line for line in lines)
    lines = result.lines(measures=["concentration"], heads=True)
    assert sum("L0H1 l1" in line for line in lines) == 2 and "also measured (--measure NAME): held_out_loss" in lines
    whole = read_plan(tmp_path / "plan.yaml")
    wide = replace(whole, axes={"a_name_that_needs_room_of_its_own": [1, 2]})
    frame = result.intervals.rename({"dim": "a_name_that_needs_room_of_its_own"})
    lines = page_lines(wide, frame, [("dim=2 seed=0", "failed", "why " * 40)])
    assert lines.count("  a_name_that_needs_room_of_its_own=4") == 2 and max(map(len, lines)) <= 80
    with pytest.raises(UsageError, match="--measure bogus: not measured here"):
        result.lines(measures=["bogus"])
    document = json.loads(json.dumps(result.document(), allow_nan=False))
    assert document["schema"] == "heedful.sweep/1" and len(document["runs"]) == 6
    assert len(document["intervals"]) == len(result.intervals)


def test_the_html_page_has_a_table_a_measure_and_the_terminals_numbers(tmp_path: Path) -> None:
    _, folder = swept(tmp_path)
    result = read_sweep(folder)
    page = result.page()
    assert page.subject.startswith("random_attention: 6 of 6 runs finished, 3 seeds")
    loss, focus = page.parts
    assert loss.title == "held_out_loss (nat/token)" and loss.header[-2:] == ("mean, 95 %", "less the first cell")
    assert [one[:2] for one in loss.rows] == [("2", "8"), ("4", "8")] and loss.rows[0][-1] == "-"
    assert loss.rows[1][-2] in "\n".join(result.lines()) and loss.rows[1][-1] in "\n".join(result.lines())
    assert focus.title.endswith("mean over heads") and len(focus.rows) == 2
    each = result.page(measures=["concentration"], heads=True).parts[0]
    assert len(each.rows) == 4 and "head" in each.header
    text = page_html(page)
    assert "held_out_loss (nat/token)" in text and "<script" not in text
    with pytest.raises(UsageError, match="--measure nothing: not measured"):
        result.page(measures=["nothing"])


def test_files_hold_the_same_and_formulas_are_text(tmp_path: Path) -> None:
    plan, folder = swept(tmp_path)
    rows = [RunMeasure(measure="=1+1", value=math.nan)]
    save_measured(folder.place(plan.runs[0]).measures, rows, {})
    folder.place(plan.runs[1]).measures.write_text("{")
    result = read_sweep(folder)
    assert len(result.notes) == 1 and "measures.json: expected JSON" in result.notes[0]
    written = result.save(tmp_path)
    assert sorted(path.name for path in written) == [
        "intervals.csv", "intervals.parquet", "table.csv", "table.parquet",
    ]  # fmt: skip
    assert polars.read_parquet(tmp_path / "table.parquet").equals(result.table)
    text = (tmp_path / "table.csv").read_text()
    assert ",'=1+1," in text and len(text.splitlines()) == len(result.table) + 1


@pytest.mark.parametrize(
    "label", ["4", "a label of exactly 24 ch", "kappa_rule=calibrated token_frames=learned seed=3"]
)
@pytest.mark.parametrize("size", [1.0, -0.00018812345, 123456.7])
def test_no_row_is_wider_than_the_page(label: str, size: float) -> None:
    numbers = {"mean": size, "low": 1.0123 * size, "high": -1.0456 * size}
    against = {"against_first": size, "against_low": -1.0178 * size, "against_high": 1.0221 * size}
    lines = _row(label, numbers | against)
    assert max(map(len, lines)) <= WIDTH
    message = " ".join(" ".join(lines).split())
    assert message.startswith(label) and f"{size:.4g} [" in message and f"| {size:.3g} [" in message


def test_what_fits_stays_on_one_line() -> None:
    nothing = {"against_low": None, "against_high": None}
    assert _row("4", {"mean": 0.5, "low": 0.4, "high": 0.6, "against_first": 0.1} | nothing) == [
        f"  {'4':<24} {'0.5 [0.4, 0.6]':<27} | 0.1 (one seed)"
    ]
