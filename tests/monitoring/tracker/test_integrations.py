"""Scalars where trackio, MLflow, W&B and Lightning keep them, offline (`make test-integrations`)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.monitoring.tracker.loops import QUIET, STEPS, plain_loop, sgd, trainer
from tests.monitoring.tracker.material import batches, qwen
from tests.monitoring.tracker.test_how_to import blocks

from heedful.errors import UsageError
from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.monitoring.tracker.lightning_tracker import lightning_tracker

NAME = "attention/layer_01/entropy_min"

needs = {
    name: pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed (make test-integrations)")
    for name in ("lightning", "trackio", "mlflow", "wandb")
}
pytestmark = pytest.mark.filterwarnings("ignore")  # packages of others warn as they please


@pytest.fixture
def wanted(tmp_path: Path) -> dict[int, float]:
    found = {step + 1: one[NAME] for step, one in enumerate(plain_loop(tmp_path / "plain"))}
    assert len(found) == STEPS
    return found


def reported(tmp_path: Path, name: str) -> None:
    run = trainer(tmp_path, report_to=[name], run_name="run")
    AttentionTracker(out=tmp_path / "run", **QUIET).attach(run)
    run.train()


@needs["mlflow"]
def test_mlflow_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: dict[int, float]) -> None:
    import mlflow

    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(place)
    reported(tmp_path, "mlflow")
    client = mlflow.MlflowClient(place)
    run = client.search_runs([one.experiment_id for one in client.search_experiments()])[0]
    key = next(name for name in run.data.metrics if name.endswith(NAME))
    assert {one.step: one.value for one in client.get_metric_history(run.info.run_id, key)} == wanted


@needs["wandb"]
def test_wandb_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: dict[int, float]) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    logged: list[dict[str, Any]] = []
    log = wandb.sdk.wandb_run.Run.log

    def kept(self: Any, data: dict[str, Any], *given: Any, **named: Any) -> None:
        logged.append(data)
        log(self, data, *given, **named)

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", kept)
    reported(tmp_path, "wandb")
    wandb.finish()
    found = [value for one in logged for key, value in one.items() if key.endswith(NAME)]
    assert found == list(wanted.values()) and list(tmp_path.rglob("*.wandb"))


@needs["trackio"]
def test_trackio_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: dict[int, float]) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    import trackio

    logged: list[dict[str, Any]] = []
    log = trackio.Run.log

    def kept(self: Any, metrics: dict[str, Any], *given: Any, **named: Any) -> None:
        logged.append(metrics)
        log(self, metrics, *given, **named)

    monkeypatch.setattr(trackio.Run, "log", kept)
    reported(tmp_path, "trackio")
    found = [value for one in logged for key, value in one.items() if key.endswith(NAME)]
    assert found == list(wanted.values())


@pytest.fixture
def lightning_parts() -> Any:
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self, scale: float = 1.0) -> None:
            super().__init__()
            self.model = qwen()
            with torch.no_grad():
                self.model.model.layers[1].self_attn.q_norm.weight.mul_(scale)

        def training_step(self, batch: Any, index: int) -> Any:
            return self.model(input_ids=batch, labels=batch).loss

        def configure_optimizers(self) -> Any:
            return sgd(self.model)

    def fitted(place: Path, callback: Any, scale: float = 1.0, **given: Any) -> Any:
        logger = pl.loggers.CSVLogger(place / "logs")
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        run = pl.Trainer(
            accelerator="cpu", max_steps=STEPS, logger=logger, callbacks=[callback], default_root_dir=place, **quiet,
            **given,
        )  # fmt: skip
        run.fit(Module(scale), torch.utils.data.DataLoader(list(batches(2 * STEPS)), batch_size=None))
        return run

    return fitted


@needs["lightning"]
def test_lightning_gives_the_same_bits(tmp_path: Path, lightning_parts: Any) -> None:
    import csv

    callback = lightning_tracker(out=tmp_path / "run", **QUIET)
    found: list[dict[str, float]] = []
    end = type(callback).on_train_batch_end

    def kept(self: Any, *given: Any) -> None:
        end(self, *given)
        found.append(self.tracker.scalars)

    type(callback).on_train_batch_end = kept
    lightning_parts(tmp_path, callback)
    assert found == plain_loop(tmp_path / "plain")
    with next((tmp_path / "logs").rglob("metrics.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row[NAME]]
    assert [float(row[NAME]) for row in rows] == [one[NAME] for one in found]
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]


@needs["lightning"]
def test_lightning_stops_saves_and_accumulates(tmp_path: Path, lightning_parts: Any) -> None:
    run = lightning_parts(tmp_path / "stop", lightning_tracker(out=tmp_path / "a", stop_on="logits", **QUIET), 200.0)
    assert run.global_step == 1
    lightning_parts(tmp_path / "save", lightning_tracker(out=tmp_path / "b", save_on="logits", **QUIET), 200.0)
    assert (tmp_path / "b" / "alarm-1.ckpt").exists()
    callback = lightning_tracker(out=tmp_path / "c", **QUIET)
    run = lightning_parts(tmp_path / "accumulate", callback, accumulate_grad_batches=2)
    assert run.global_step == callback.tracker.steps == STEPS


def test_without_lightning_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heedful.monitoring.tracker.lightning_tracker.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="lightning_tracker: needs lightning or pytorch_lightning"):
        lightning_tracker(out="run")


@needs["lightning"]
def test_the_example_of_the_how_to_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning

    monkeypatch.chdir(tmp_path)

    class MyModule(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = qwen()

        def training_step(self, batch: Any, index: int) -> Any:
            return self.model(input_ids=batch, labels=batch).loss

        def configure_optimizers(self) -> Any:
            return sgd(self.model)

    loader = torch.utils.data.DataLoader(list(batches(3)), batch_size=None)
    exec(compile(blocks()["Lightning"], "watch-training.md", "exec"), {"MyModule": MyModule, "loader": loader})
    assert (tmp_path / "run" / "attention.parquet").exists()
