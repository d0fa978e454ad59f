"""Losses with attention replaced, on the same tokens: what the learned pattern is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from heedful.capture import replace
from heedful.study.evidence import Array
from heedful.study.objective import Objective
from heedful.study.running import Batch

ARMS = ("uniform", "local", "mean", "shuffled", "zero")
"""Patterns put in place of the learned one; see ``heedful.engine.PATTERNS``."""


def losses_of(
    model: nn.Module, objective: Objective, batches: Sequence[Batch], tick: Callable[[], None] = lambda: None
) -> Array:
    """Loss of each sequence in nats per token.

    Returns:
        ``(sequence,)`` in the order of the batches.
    """
    parts = []
    with torch.no_grad():
        for batch in batches:
            parts.append(objective.losses(model, batch).double().cpu())
            tick()
    return np.asarray(torch.cat(parts).numpy())


def ablated_losses(
    model: nn.Module,
    objective: Objective,
    batches: Sequence[Batch],
    arm: str,
    *,
    layers: Sequence[int | str] | None = None,
    heads: Sequence[int] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Array:
    """Loss of each sequence with one arm in place of the learned attention.

    Args:
        model: The model, in evaluation mode.
        objective: The loss.
        batches: Batches of at least two sequences of different documents.
        arm: A name of ``ARMS``.
        layers: Module paths or layer indices; None for all.
        heads: Head indices; None for all.
        tick: Called after each batch.

    Returns:
        ``(sequence,)`` in nats per token.
    """
    with replace(model, arm, layers=layers, heads=heads):
        return losses_of(model, objective, batches, tick)
