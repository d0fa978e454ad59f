"""Ablation that stops early: each replacement is looked at after more and more text, and left once it has decided.

Every replacement is a test of its own with its own looks, at 1/16, 1/8, 1/4, 1/2 and all of its sequences, each filled
up to whole batches. Intervals and p are those of ``inference.looks``: they hold whichever look one stops at. Several
processes hold the whole losses before any decision, which is therefore the same on each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heedful.evaluation.ablation import Replacement
from heedful.evaluation.evidence import Array
from heedful.evaluation.running import Batch
from heedful.inference.interim_analyses import repeated_interval, repeated_p
from heedful.inference.interval import Interval
from heedful.inference.margin import equivalent
from heedful.inference.skewness import skew_p, skew_t

if TYPE_CHECKING:
    from heedful.evaluation.study import Study

Losses = Callable[[Sequence[Replacement], Sequence[Batch]], list[Array]]


def look_ends(batches: Sequence[Batch], looks: int) -> tuple[int, ...]:
    """Sequences seen at each look: whole batches that hold at least 1/16, 1/8, ... of all, no look twice.

    Args:
        batches: All batches.
        looks: How many looks at most; 1 is one look at everything.
    """
    ends = np.cumsum([len(batch.index) for batch in batches])
    wanted = [ends[-1] / 2 ** (looks - 1 - k) for k in range(looks)]
    return tuple(dict.fromkeys(int(ends[np.searchsorted(ends, share - 1e-9)]) for share in wanted))


def differences_by_looks(
    study: Study, losses: Losses, replacements: Sequence[Replacement], batches: Sequence[Batch], tests: int
) -> list[Array]:
    """Loss differences of several replacements, each measured until it has decided.

    Args:
        study: The study.
        losses: Losses of each sequence under some replacements, on some batches.
        replacements: What to put in place.
        batches: All batches that may be read.
        tests: Tests of the family, by whose number p is multiplied before it decides.

    Returns:
        ``(sequence,)`` in nats per token for each replacement; NaN where it was no longer measured.
    """
    ends = look_ends(batches, study.settings.looks)
    found = [np.full(ends[-1], math.nan) for _ in replacements]
    undecided, begin = list(range(len(replacements))), 0
    starts = np.cumsum([0, *(len(batch.index) for batch in batches)])
    for look, end in enumerate(ends):
        part = [batch for batch, start in zip(batches, starts, strict=False) if begin <= start < end]
        for place, values in zip(undecided, losses([replacements[k] for k in undecided], part), strict=True):
            found[place][begin:end] = values - study.loss[begin:end]
        undecided = [k for k in undecided if not _decided(study, found[k], look, ends, tests)]
        begin = end
        if not undecided:
            break
    return found


def over_documents(study: Study, values: Array) -> Interval:
    """Interval of the mean loss difference, documents as units: at the look at which it stopped, if there are looks."""
    units = study.first_units(values)
    if study.settings.looks == 1:
        return skew_t(units)
    look, ends = _look_of(study, values)
    return repeated_interval(units, look, _fractions(ends))


def p_of_zero(study: Study, values: Array) -> float:
    """Two-sided p of a zero mean over documents; NaN where it has no spread or too few values."""
    units = study.first_units(values)
    units = units[np.isfinite(units)]
    if len(units) < 2 or np.ptp(units) < 1e-12:
        return math.nan
    if study.settings.looks == 1:
        return skew_p(units)
    look, ends = _look_of(study, values)
    return repeated_p(units, look, _fractions(ends))


def look_facts(study: Study, values: Array) -> dict[str, Any]:
    """At which look a replacement stopped, and how many sequences it took; empty without looks."""
    if study.settings.looks == 1:
        return {}
    look, ends = _look_of(study, values)
    return {"look": look + 1, "looks": len(ends), "sequences": ends[look], "sequences_planned": ends[-1]}


def _look_of(study: Study, values: Array) -> tuple[int, tuple[int, ...]]:
    """The look at which measuring stopped, from 0, and all looks of these values."""
    starts = np.cumsum([0, *(len(batch.index) for batch in study.batches)])
    ends = look_ends(study.batches[: int(np.searchsorted(starts, len(values)))], study.settings.looks)
    measured = np.flatnonzero(~np.isnan(values))
    seen = int(measured[-1]) + 1 if len(measured) else ends[-1]
    return next(k for k, end in enumerate(ends) if end >= seen), ends


def _fractions(ends: Sequence[int]) -> tuple[float, ...]:
    return tuple(end / ends[-1] for end in ends)


def _decided(study: Study, values: Array, look: int, ends: Sequence[int], tests: int) -> bool:
    """Whether a verdict on these differences would no longer change: beyond the margin, or within it both ways."""
    units = study.first_units(values)
    if int(np.isfinite(units).sum()) < study.settings.least_units:
        return False
    margin, fractions = study.settings.margins.loss, _fractions(ends)
    interval = repeated_interval(units, look, fractions)
    if float(interval.low) > margin:
        return repeated_p(units, look, fractions) * tests <= study.settings.alpha
    return bool(equivalent(interval, margin)) or float(interval.high) < -margin
