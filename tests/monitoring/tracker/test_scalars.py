"""Scalars: defined by the rows, bit for bit the same in every loop, and where people look at them."""

import math
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
from tests.monitoring.tracker.loops import QUIET, STEPS, accelerate_loop, plain_loop, titan_loop, trainer, trainer_loop
from transformers import TrainerCallback

from heedful.errors import UsageError
from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.monitoring.tracker.scalars import SCALARS, scalars
from heedful.monitoring.tracker.table import read_table


def test_scalars_are_the_rows_brought_together(tmp_path: Path) -> None:
    last = plain_loop(tmp_path)[-1]
    table = read_table(tmp_path).filter(polars.col("step") == STEPS)
    heads = table.filter(polars.col("part") == "attention")
    assert last["attention/max_logit"] == pytest.approx(heads["max_logit"].max(), rel=1e-6)
    second = heads.filter(polars.col("layer") == 1)
    assert last["attention/layer_01/entropy_min"] == pytest.approx(second["entropy_min"].min(), rel=1e-6)
    assert last["attention/sink_head_share"] == float(heads["is_sink"].mean())
    assert {name for name in SCALARS if f"attention/{name}" not in last} == set()
    assert len(last) == 2 + 3 * len(SCALARS) and last["attention/step"] == STEPS and last["attention/alarms"] == 0


def test_what_is_undefined_has_no_scalar() -> None:
    row = {"part": "attention", "layer": 0, "head": 0, "max_logit": math.nan, "entropy_min": 0.5}
    assert scalars(3, [row]) == {
        "attention/step": 3.0,
        "attention/alarms": 0.0,
        "attention/entropy_min": 0.5,
        "attention/layer_00/entropy_min": 0.5,
    }


@pytest.mark.parametrize("loop", [accelerate_loop, titan_loop, trainer_loop])
def test_every_loop_gives_the_same_bits(loop: Any, tmp_path: Path) -> None:
    wanted = plain_loop(tmp_path / "plain")
    found = loop(tmp_path / "other")
    assert len(found) == len(wanted) == STEPS and len(wanted[1]) > len(wanted[2])
    assert found == wanted
    assert wanted[0] != wanted[1], "a loop that does not train would pass"


def test_scalars_are_in_the_event_files_of_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = plain_loop(tmp_path / "plain")
    run = trainer(tmp_path, report_to=["tensorboard"])
    AttentionTracker(out=tmp_path / "run", **QUIET).attach(run)
    run.train()
    events = EventAccumulator(str(next(tmp_path.rglob("events.*")).parent))
    events.Reload()
    for name in ("attention/max_logit", "attention/layer_01/entropy_min", "attention/key_effective_rank_min"):
        tag = next(
            tag for tag in events.Tags()["scalars"] if tag.endswith(name) and tag.count("/") <= name.count("/") + 1
        )
        got = {event.step: event.value for event in events.Scalars(tag)}
        right = {step + 1: one[name] for step, one in enumerate(wanted) if name in one}
        assert got == {step: float(torch.tensor(value)) for step, value in right.items()}


class Printed(TrainerCallback):
    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        self.logs.append(dict(logs))


def test_printers_get_the_loss_alone_and_an_unattached_tracker_reaches_the_history(tmp_path: Path) -> None:
    run, after = trainer(tmp_path), Printed()
    AttentionTracker(out=tmp_path / "run", **QUIET).attach(run)
    run.add_callback(after)  # after the printer
    run.train()
    assert any("loss" in logs for logs in after.logs)
    assert not any(name.startswith("attention/") for logs in after.logs for name in logs)
    run = trainer(tmp_path / "unattached")
    run.add_callback(AttentionTracker(out=tmp_path / "unattached" / "run", **QUIET))
    run.train()
    assert "attention/max_logit" in run.state.log_history[0]
    with pytest.raises(UsageError, match="attach: expected a Trainer of transformers, got int"):
        AttentionTracker(out=tmp_path).attach(3)


@pytest.mark.parametrize("wish", ["stop_on", "save_on"])
def test_an_alarm_stops_the_trainer_or_writes_a_checkpoint(wish: str, tmp_path: Path) -> None:
    run = trainer(tmp_path)
    with torch.no_grad():
        run.model.model.layers[1].self_attn.q_norm.weight.mul_(200.0)
    said: list[str] = []
    given = QUIET | {"write": said.append}
    AttentionTracker(out=tmp_path / "run", **given, **{wish: ["logits"]}).attach(run)
    run.train()
    assert run.state.global_step == (1 if wish == "stop_on" else STEPS)
    assert [path.name for path in (tmp_path / "trainer").glob("checkpoint-*")] == (
        [] if wish == "stop_on" else ["checkpoint-1"]
    )
    assert any(line.startswith("step 1 ALARM logits: L1H") for line in said)
    alarms = read_table(tmp_path / "run").filter(polars.col("alarm").is_not_null())
    assert alarms["step"][0] == 1 and alarms["layer"][0] == 1 and "QK-norm" in alarms["note"][0]
