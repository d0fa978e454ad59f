"""Ablate with interim analyses (group-sequential): each replacement stops as soon as its verdict is settled.

Every replacement is a test of its own with its own looks, at 1/16, 1/8, 1/4, 1/2 and all of its sequences, each filled
up to whole batches. Intervals and p are those of ``inference.interim_analyses``: they hold whichever look one stops
at. Several processes hold the whole losses before any decision, which is therefore the same on each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from heedful.evaluation.ablation import Replacement
from heedful.evaluation.evidence import Array
from heedful.evaluation.settings import Settings
from heedful.inference.interim_analyses import repeated_interval, repeated_p
from heedful.inference.margin import equivalent
from heedful.loading.batch import Batch

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
    """Return the loss differences of each replacement, ``(sequence,)``, measured until its verdict is settled.

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
