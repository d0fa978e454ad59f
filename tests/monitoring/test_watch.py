"""A run is watched at its end, in progress, and beside another; any head beside any, any step beside any."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
from tests.monitoring.tracker.material import batches, qwen
from typer.testing import CliRunner

import heedful
from heedful.app import app
from heedful.errors import InputRejected, UsageError
from heedful.monitoring.page.record import WatchReport
from heedful.monitoring.tracker.attention_tracker import AttentionTracker


def test_one_checkpoint_is_enough_and_the_record_shows_itself(tmp_path: Path) -> None:
    loaded = heedful.load_model()
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    with torch.no_grad():
        found = heedful.watch(tmp_path / "model", seq_len=16, sequences=2, out=tmp_path / "keys.parquet")
    assert repr(found).startswith(f"WatchReport({tmp_path / 'model'}: ") and (tmp_path / "keys.parquet").is_file()
    assert found.save(tmp_path / "keys.json").read_text() == found.to_json()
    again = heedful.watch([tmp_path / "keys.parquet"])
    assert [figure.rows for figure in again.keys.figures] == [figure.rows for figure in found.keys.figures]
    with pytest.raises(UsageError, match="--text is for checkpoints"):
        heedful.watch(tmp_path / "keys.parquet", text="a text")


@pytest.mark.parametrize("runs", [3, [], [3], None])
def test_what_is_no_run_is_refused(runs: object) -> None:
    with pytest.raises(UsageError, match="runs: expected a run, its table, or checkpoints"):
        heedful.watch(runs)  # type: ignore[arg-type]


def trained(out: Path, steps: int = 4, rate: float = 1e-2, scale: float = 1.0, pause: float = 0.0) -> Path:
    model = qwen()
    with torch.no_grad():
        model.model.layers[1].self_attn.q_norm.weight.mul_(scale)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    given: dict[str, Any] = {"every": 2, "brief_every": 1, "optimizer": optimizer, "write": lambda line: None}
    with AttentionTracker(model, out=out, **given) as tracker:
        for ids in batches(steps):
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            tracker.step(loss)
            time.sleep(pause)
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("watched") / "run", scale=200.0)


def test_a_run_shows_its_alarms_curves_heads_and_steps(run: Path) -> None:
    found, table = heedful.watch(run), heedful.read_table(run)
    assert not found.running and found.step == 4
    assert found.alarms[0].kind == "logits" and found.alarms[0].layer == 1 and "QK-norm" in found.alarms[0].advice
    assert [figure.name for figure in found.curves] == ["loss_and_gradient", "logits_and_entropy", "sinks"]
    last = table.filter((polars.col("step") == 4) & (polars.col("part") == "attention")).sort("max_logit")
    ends = [f"L{row['layer']}H{row['head']}" for row in (last.row(-1, named=True), last.row(0, named=True))]
    assert list(found.heads.columns) == ends
    numbers = dict(found.heads.rows)
    assert numbers["max_logit"] == (last["max_logit"][-1], last["max_logit"][0])
    assert found.steps.columns == ("step 1", "step 4") and math.isfinite(dict(found.steps.rows)["loss"][1])
    assert found.runs is None and len(found.keys.figures) == 5


def test_any_head_and_any_step_stand_beside_any_other(run: Path) -> None:
    found = heedful.watch(run, head=["L0H3", "L1H0", "L0H0"], step=[2, 3])
    assert found.heads.columns == ("L0H3", "L1H0", "L0H0") and found.steps.columns == ("step 2", "step 3")
    table = heedful.read_table(run).filter(polars.col("step") == 4)
    key = (polars.col("part") == "key") & (polars.col("stage") == "after") & (polars.col("layer") == 0)
    shared = table.filter(key & (polars.col("head") == 1))["norm_mean"].item()
    assert dict(found.heads.rows)["key_norm_mean"][0] == shared, "query head 3 of 4 reads key head 1 of 2"
    assert math.isnan(dict(found.steps.rows)["key_norm"][1]), "step 3 is a brief record"
    for words, told in (
        ({"head": "L9H0"}, "head L9H0: expected one of the 8 heads of step 4, found none"),
        ({"head": "one"}, "--head one: expected a layer and a head such as L0H3"),
        ({"step": 77}, "--step 77: expected a recorded step, the nearest is 4"),
    ):
        with pytest.raises(UsageError, match=told):
            heedful.watch(run, **words)


def test_two_runs_stand_beside_one_another(run: Path, tmp_path: Path) -> None:
    other = trained(tmp_path / "other", steps=2)
    found = heedful.watch(run, against=other)
    assert found.runs is not None and "at step 2, the last that both recorded" in found.runs.text
    first, second = dict(found.runs.rows)["max_logit"]
    assert first > 50 > second
    assert {row["group"] for row in found.curves[0].rows} == {"this run", "the other"}
    with pytest.raises(InputRejected, match="found no folder"):
        heedful.watch(run, against=tmp_path / "nowhere")


def test_a_run_in_progress_is_followed_to_its_end(tmp_path: Path) -> None:
    place, seen = tmp_path / "run", []
    thread = threading.Thread(target=trained, args=(place, 8), kwargs={"pause": 0.2})
    thread.start()
    try:
        while not (place / "attention.parts").is_dir():
            time.sleep(0.01)
        last = heedful.watch(place, follow=True, interval=0.05, shown=seen.append)
    finally:
        thread.join()
    assert len(seen) >= 3 and seen[-1] is last
    assert [report.running for report in seen] == [True] * (len(seen) - 1) + [False]
    assert [report.step for report in seen] == sorted(report.step for report in seen) and last.step == 8
    assert (seen[0].refresh, last.refresh) == (1, None)


def test_the_command_follows_into_the_folder_of_the_run(run: Path) -> None:
    result = CliRunner().invoke(app, ["watch", str(run), "--follow"])
    page = run / "watch.html"
    assert (result.exit_code, result.stderr) == (0, f"wrote {page}\n")
    assert "ALARMS" in result.stdout and "Attention in training" in page.read_text(encoding="utf-8")
    again = CliRunner().invoke(app, ["watch", str(run), "--follow", "--head", "L0H1", "--step", "2", "--step", "4"])
    assert again.exit_code == 0 and "L0H1" in again.stdout


def test_a_checkpoint_is_set_beside_no_run(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageError, match="--against sets a recorded run beside another"):
        heedful.watch(tmp_path / "model", against=tmp_path)
    with pytest.raises(InputRejected, match="found no folder"):
        heedful.watch(tmp_path / "nowhere", follow=True)
    with pytest.raises(UsageError, match="interval: expected more than 0 seconds, got 0"):
        heedful.watch(tmp_path, follow=True, interval=0)


def test_a_watch_report_is_a_shown_record(run: Path, tmp_path: Path) -> None:
    found = heedful.watch(run)
    assert isinstance(found, WatchReport) and "alarm" in repr(found)
    assert "data:image/svg+xml" in found.save(tmp_path / "watch.html").read_text(encoding="utf-8")
