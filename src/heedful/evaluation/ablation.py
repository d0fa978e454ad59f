"""Measure the loss with attention replaced, on the same tokens: how much the learned pattern reduces the loss.

Ablate with interim analyses (group-sequential): each replacement stops as soon as its verdict is settled.

Every replacement is a test of its own with its own looks, at 1/16, 1/8, 1/4, 1/2 and all of its sequences, each filled
up to whole batches. Intervals and p are those of ``inference.interim_analyses``: they hold whichever look one stops
at. Several processes hold the whole losses before any decision, which is therefore the same on each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from heedful.distributed.ranks import ALONE, Ranks
from heedful.evaluation.evidence import Array
from heedful.evaluation.objective import Objective
from heedful.evaluation.pattern_pool import PatternPool, PooledMean
from heedful.evaluation.settings import Settings
from heedful.inference.interim_analyses import repeated_interval, repeated_p
from heedful.inference.margin import equivalent
from heedful.interception.replace import replace
from heedful.loading.batch import Batch

ARMS = ("uniform", "local", "mean", "shuffled", "zero")
"""Patterns put in place of the learned one; see ``heedful.attention.engines.patterns.PATTERNS``."""


@dataclass(frozen=True)
class Replacement:
    """A pattern that replaces the learned attention, and the modules and heads that it replaces.

    Attributes:
        arm: A name of ``ARMS``.
        layers: Module paths; None for all.
        heads: Head indices; None for all.
    """

    arm: str
    layers: tuple[str, ...] | None = None
    heads: tuple[int, ...] | None = None


class LayerStart(Protocol):
    """Protocol of an object that runs forwards from a given layer onwards, on cached inputs of that layer."""

    places: dict[str, int]

    def keep(self, batch: Batch) -> bool:
        """Run the model on a batch, cache the input of each layer, and return whether forwards can start at a layer."""

    def beginning_at(self, path: str) -> AbstractContextManager[None]:
        """Return a context in which each forward starts at the layer that contains the attention module at ``path``."""

    def forget(self) -> None:
        """Drop the cached layer inputs."""


def losses_under(
    model: nn.Module,
    objective: Objective,
    batches: Sequence[Batch],
    replacements: Sequence[Replacement | None],
    *,
    tick: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
    pool: PatternPool | None = None,
    cut: LayerStart | None = None,
) -> list[Array]:
    """Return the loss of each sequence under each replacement, ``(sequence,)`` arrays; batches are split over ranks.

    Args:
        model: The model, in evaluation mode.
        objective: The loss.
        batches: Batches of at least two sequences of different documents.
        replacements: What to put in place, one after the other; None leaves the learned attention.
        tick: Called after each batch.
        ranks: Processes that divide the batches.
        pool: Documents whose mean pattern the arm ``mean`` puts in place; None takes those of each batch.
        cut: Runs replacements in a single module from its layer on; None runs every forward whole.

    Returns:
        ``(sequence,)`` in nats per token for each replacement, in the order of the batches.
    """
    mine, rows = ranks.run(batches), ranks.run_rows(batches)
    found = [np.zeros(len(rows)) for _ in replacements]
    measured: list[list[Array]] = [[] for _ in replacements]
    for batch in mine:
        kept = cut is not None and any(_cuttable(one, cut) for one in replacements) and cut.keep(batch)
        for place, one in enumerate(replacements):
            begin = (
                cut.beginning_at(one.layers[0])
                if kept and cut and one and one.layers and _cuttable(one, cut)
                else nullcontext()
            )
            with begin:
                measured[place].append(_losses(model, objective, batch, one, pool))
            tick()
        if cut is not None:
            cut.forget()
    if mine:
        for losses, parts in zip(found, measured, strict=True):
            losses[rows] = np.concatenate(parts)
    return ranks.merged(found, ranks.own_rows(batches))


def _cuttable(one: Replacement | None, cut: LayerStart) -> bool:
    return one is not None and one.layers is not None and len(one.layers) == 1 and cut.places.get(one.layers[0], 0) > 0


def _losses(
    model: nn.Module, objective: Objective, batch: Batch, one: Replacement | None, pool: PatternPool | None
) -> Array:
    if one is None:
        return losses_of(model, objective, [batch])
    return ablated_losses(model, objective, [batch], one.arm, layers=one.layers, heads=one.heads, pool=pool)


def losses_of(
    model: nn.Module,
    objective: Objective,
    batches: Sequence[Batch],
    tick: Callable[[], None] = lambda: None,
    begin: Callable[[Batch], None] = lambda batch: None,
) -> Array:
    """Return the loss of each sequence, ``(sequence,)`` in nats per token; ``begin(batch)`` is called before each
    batch.

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
    """Return the loss of each sequence, ``(sequence,)``, with the learned attention replaced by the pattern ``arm``.

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


Losses = Callable[[Sequence[Replacement], Sequence[Batch]], list[Array]]


def interim_ends(batches: Sequence[Batch], interim_analyses: int) -> tuple[int, ...]:
    """Return how many sequences each interim analysis uses: whole batches with at least 1/16, 1/8, ... of all
    sequences.

    Args:
        batches: All batches.
        interim_analyses: How many looks at most; 1 is one look at everything.
    """
    ends = np.cumsum([len(batch.index) for batch in batches])
    wanted = [ends[-1] / 2 ** (interim_analyses - 1 - k) for k in range(interim_analyses)]
    return tuple(dict.fromkeys(int(ends[np.searchsorted(ends, share - 1e-9)]) for share in wanted))


def differences_by_analyses(
    losses: Losses,
    replacements: Sequence[Replacement],
    batches: Sequence[Batch],
    base: Array,
    *,
    units: Callable[[Array], Array],
    settings: Settings,
    tests: int,
) -> list[Array]:
    """Return each replacement's loss differences, ``(sequence,)``; a replacement is no longer measured once its verdict
    is settled.

    Args:
        losses: Losses of each sequence under some replacements, on some batches.
        replacements: What to put in place.
        batches: All batches that may be read.
        base: Losses with the learned attention, ``(sequence,)`` in the order of the batches.
        units: Document means of the first sequences' values: ``(sequence,)`` to ``(document,)``.
        settings: Number of looks, margin, significance level and fewest documents.
        tests: Tests of the family, by whose number p is multiplied before it decides.

    Returns:
        ``(sequence,)`` in nats per token for each replacement; NaN where it was no longer measured.
    """
    ends = interim_ends(batches, settings.interim_analyses)
    found = [np.full(ends[-1], math.nan) for _ in replacements]
    undecided, begin = list(range(len(replacements))), 0
    starts = np.cumsum([0, *(len(batch.index) for batch in batches)])
    for look, end in enumerate(ends):
        part = [batch for batch, start in zip(batches, starts, strict=False) if begin <= start < end]
        for place, values in zip(undecided, losses([replacements[k] for k in undecided], part), strict=True):
            found[place][begin:end] = values - base[begin:end]
        undecided = [k for k in undecided if not _decided(units(found[k]), settings, look, ends, tests)]
        begin = end
        if not undecided:
            break
    return found


def fractions_of(ends: Sequence[int]) -> tuple[float, ...]:
    """Return the share of all sequences that each interim analysis uses, as a tuple."""
    return tuple(end / ends[-1] for end in ends)


def _decided(units: Array, settings: Settings, look: int, ends: Sequence[int], tests: int) -> bool:
    """Whether a verdict on these differences would no longer change: beyond the margin, or within it both ways."""
    if int(np.isfinite(units).sum()) < settings.least_units:
        return False
    margin, fractions = settings.margins.loss, fractions_of(ends)
    interval = repeated_interval(units, look, fractions)
    if float(interval.low) > margin:
        return repeated_p(units, look, fractions) * tests <= settings.alpha
    return bool(equivalent(interval, margin)) or float(interval.high) < -margin
