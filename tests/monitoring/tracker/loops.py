"""The same small training in the loops that people write, each with the tracker in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tests.monitoring.tracker.material import batches, qwen
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

from heedful.monitoring.tracker.attention_tracker import AttentionTracker

STEPS, RATE = 4, 1e-2
QUIET = {"every": 2, "brief_every": 1, "write": lambda line: None}

Scalars = list[dict[str, float]]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=RATE)


def plain_loop(out: Path) -> Scalars:
    model = qwen()
    optimizer, found = sgd(model), []
    with AttentionTracker(model, out=out, optimizer=optimizer, **QUIET) as tracker:
        for ids in batches(STEPS):
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            tracker.step(loss)
            found.append(tracker.scalars)
    return found


def accelerate_loop(out: Path) -> Scalars:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    inner = qwen()
    model, optimizer = accelerator.prepare(inner, sgd(inner))
    found: Scalars = []
    with AttentionTracker(accelerator.unwrap_model(model), out=out, optimizer=optimizer, **QUIET) as tracker:
        for ids in batches(STEPS):
            with accelerator.accumulate(model):
                loss = model(input_ids=ids, labels=ids).loss
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                tracker.step(loss)
                found.append(tracker.scalars)
    return found


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def titan_loop(out: Path) -> Scalars:
    """As torchtitan trains: model parts, an optimizer for each, labels that are shifted already, extra metrics."""
    parts = [qwen()]
    optimizers = [sgd(part) for part in parts]
    schedulers = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: 1.0) for one in optimizers]
    logged: Scalars = []
    with AttentionTracker(parts[0], out=out, optimizer=optimizers, **QUIET) as tracker:
        for ids in batches(STEPS):
            for optimizer in optimizers:
                optimizer.zero_grad()
            labels = F.pad(ids[:, 1:], (0, 1), value=-100)
            loss = cross_entropy(parts[0](ids).logits, labels)
            loss.backward()
            norm = nn.utils.clip_grad_norm_([p for part in parts for p in part.parameters()], 1e9)
            for optimizer in optimizers:
                optimizer.step()
            for scheduler in schedulers:
                scheduler.step()
            tracker.step(loss, grad_norm=norm)
            logged.append(tracker.scalars)  # metrics_processor.log(..., extra_metrics=tracker.scalars)
    return logged


class Stream(IterableDataset):
    """The batches in their order, one sequence at a time."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for ids in batches(STEPS).flatten(0, 1):
            yield {"input_ids": ids, "labels": ids}


def trainer(out: Path, **changes: Any) -> Trainer:
    model = qwen()
    given = {
        "output_dir": str(out / "trainer"),
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    optimizer = sgd(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    arguments = TrainingArguments(**given | changes)
    return Trainer(model=model, args=arguments, train_dataset=Stream(), optimizers=(optimizer, schedule))


def trainer_loop(out: Path) -> Scalars:
    """Scalars as they stand in the Trainer's own log history."""
    run = trainer(out)
    AttentionTracker(out=out, **QUIET).attach(run)
    run.train()
    logs = [entry for entry in run.state.log_history if "loss" in entry]
    return [{name: value for name, value in entry.items() if name.startswith("attention/")} for entry in logs]
