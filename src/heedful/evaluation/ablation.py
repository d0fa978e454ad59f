"""Losses with attention replaced, on the same tokens: how much the learned pattern reduces the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from heedful.distributed.ranks import ALONE, Ranks
from heedful.evaluation.evidence import Array
from heedful.evaluation.objective import Objective
from heedful.evaluation.pattern_pool import PatternPool, PooledMean
from heedful.interception.replace import replace
from heedful.loading.batch import Batch

ARMS = ("uniform", "local", "mean", "shuffled", "zero")
"""Patterns put in place of the learned one; see ``heedful.attention.engines.patterns.PATTERNS``."""


@dataclass(frozen=True)
class Replacement:
    """A pattern that replaces the learned attention.

    Attributes:
        arm: A name of ``ARMS``.
        layers: Module paths; None for all.
        heads: Head indices; None for all.
    """

    arm: str
    layers: tuple[str, ...] | None = None
    heads: tuple[int, ...] | None = None


def losses_under(
    model: nn.Module,
    objective: Objective,
    batches: Sequence[Batch],
    replacements: Sequence[Replacement | None],
    *,
    tick: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
    pool: PatternPool | None = None,
) -> list[Array]:
    """Loss of each sequence under each of several replacements, divided over the ranks.

    Args:
        model: The model, in evaluation mode.
        objective: The loss.
        batches: Batches of at least two sequences of different documents.
        replacements: What to put in place, one after the other; None leaves the learned attention.
        tick: Called after each batch.
        ranks: Processes that divide the batches.
        pool: Documents whose mean pattern the arm ``mean`` puts in place; None takes those of each batch.

    Returns:
        ``(sequence,)`` in nats per token for each replacement, in the order of the batches.
    """
    mine, rows = ranks.run(batches), ranks.run_rows(batches)
    found = []
    for one in replacements:
        losses = np.zeros(len(rows))
        if mine and one is None:
            losses[rows] = losses_of(model, objective, mine, tick)
        elif mine and one is not None:
            losses[rows] = ablated_losses(
                model, objective, mine, one.arm, layers=one.layers, heads=one.heads, tick=tick, pool=pool
            )
        found.append(losses)
    return ranks.merged(found, ranks.own_rows(batches))


def losses_of(
    model: nn.Module,
    objective: Objective,
    batches: Sequence[Batch],
    tick: Callable[[], None] = lambda: None,
    begin: Callable[[Batch], None] = lambda batch: None,
) -> Array:
    """Loss of each sequence in nats per token; ``begin`` is called with each batch before it runs.

    Returns:
        ``(sequence,)`` in the order of the batches.
    """
    parts = []
    with torch.no_grad():
        for batch in batches:
            begin(batch)
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
    pool: PatternPool | None = None,
) -> Array:
    """Loss of each sequence with one replacement of the learned attention.

    Args:
        model: The model, in evaluation mode.
        objective: The loss.
        batches: Batches of at least two sequences of different documents.
        arm: A name of ``ARMS``.
        layers: Module paths or layer indices; None for all.
        heads: Head indices; None for all.
        tick: Called after each batch.
        pool: Documents whose mean pattern the arm ``mean`` puts in place; None takes those of each batch.

    Returns:
        ``(sequence,)`` in nats per token.
    """
    if arm == "mean" and pool is not None and pool.sums:
        pattern = PooledMean(pool)
        with replace(model, pattern, layers=layers, heads=heads):
            return losses_of(model, objective, batches, tick, pattern.of)
    with replace(model, arm, layers=layers, heads=heads):
        return losses_of(model, objective, batches, tick)
