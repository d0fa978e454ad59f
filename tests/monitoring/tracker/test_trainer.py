"""The callback in transformers' Trainer: the same training, recorded, resumed, evaluated and accumulated."""

import shutil
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
from tests.monitoring.tracker.material import batches, qwen
from transformers import Trainer, TrainingArguments

from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.monitoring.tracker.table import read_table

ITEMS = [{"input_ids": ids, "labels": ids} for ids in batches(24, batch=1)[:, 0]]


def trained(folder: Path, *, out: Path | None, resume: bool = False, **changes: Any) -> Trainer:
    arguments = {
        "output_dir": str(folder),
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 1,
    }
    tracker = [] if out is None else [AttentionTracker(out=out, every=2, write=lambda line: None)]
    trainer = Trainer(
        model=qwen(),
        args=TrainingArguments(**arguments | changes),
        train_dataset=ITEMS,
        eval_dataset=ITEMS[:4],
        callbacks=tracker,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 1}])
def test_the_training_is_the_same_and_recorded(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain = trained(tmp_path / "plain", out=None, **changes)
    watched = trained(tmp_path / "watched", out=tmp_path / "run", **changes)
    losses = [
        [
            {k: v for k, v in entry.items() if "loss" in k or k == "grad_norm"}
            for entry in trainer.state.log_history[:-1]
        ]
        for trainer in (plain, watched)
    ]
    assert losses[0] == losses[1] and len(losses[0]) >= 6
    weights = [torch.cat([p.detach().flatten() for p in trainer.model.parameters()]) for trainer in (plain, watched)]
    assert torch.equal(*weights)
    table = read_table(tmp_path / "run")
    assert table["step"].unique(maintain_order=True).to_list() == [1, 2, 4, 6]
    parts = changes.get("gradient_accumulation_steps", 1)
    assert set(table.filter(polars.col("part") == "key")["vectors"]) == {parts * 2 * 48}
    step = table.filter(polars.col("part") == "step")
    assert step["gradient_norm"].is_not_null().all()
    if not changes:
        logged = {entry["step"]: entry["loss"] for entry in watched.state.log_history if "loss" in entry}
        assert step["loss"].to_list() == pytest.approx([logged[s] for s in (1, 2, 4, 6)], rel=1e-3)


def test_a_resumed_training_goes_on_in_the_same_table(tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 3}
    trained(tmp_path / "parts", out=tmp_path / "run", max_steps=5, lr_scheduler_type="constant", **saving)
    shutil.rmtree(tmp_path / "parts" / "checkpoint-5")
    assert read_table(tmp_path / "run")["step"].unique(maintain_order=True).to_list() == [1, 2, 4]
    trained(tmp_path / "parts", out=tmp_path / "run", resume=True, **saving)
    table = read_table(tmp_path / "run")
    assert table.filter((polars.col("part") == "step") & polars.col("alarm").is_null())["step"].to_list() == [
        1,
        2,
        4,
        6,
    ]
