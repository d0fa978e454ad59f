"""Tiny models that rotate, batches of them, and plain training loops with and without a tracker."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from heedful.monitoring.tracker.attention_tracker import AttentionTracker

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


def qwen(**changes: Any) -> Qwen3ForCausalLM:
    torch.manual_seed(7)
    return Qwen3ForCausalLM(Qwen3Config(**SIZES | changes)).train()


def batches(number: int, batch: int = 4, length: int = 48) -> Tensor:
    return torch.randint(0, 60, (number, batch, length), generator=torch.Generator().manual_seed(3))


def train(
    model: nn.Module, number: int, *, out: Path | None = None, every: int = 2, first: int = 0, **given: Any
) -> tuple[list[float], list[str]]:
    """Losses and printed lines of a plain loop of AdamW, watched where there is a folder."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    lines: list[str] = []
    tracker = None
    if out is not None:
        tracker = AttentionTracker(
            model, out=out, every=every, optimizer=optimizer, first_step=first, write=lines.append, **given
        )
        tracker.__enter__()
    losses = []
    for ids in batches(number):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        if tracker is not None:
            tracker.step(loss)
    if tracker is not None:
        tracker.__exit__()
    return losses, lines


def two_processes(run: Callable[..., None], out: Path, seconds: float = 240) -> None:
    """``run(rank, 2, port, out)`` in two processes; those that do not end are ended, and that is an error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = mp.spawn(run, args=(2, port, out), nprocs=2, join=False)
    until = time.monotonic() + seconds
    while not started.join(timeout=1):
        if time.monotonic() > until:
            waiting = [rank for rank, process in enumerate(started.processes) if process.is_alive()]
            for process in started.processes:
                process.kill()
            raise TimeoutError(f"ranks {waiting} did not end in {seconds:.0f} s")
