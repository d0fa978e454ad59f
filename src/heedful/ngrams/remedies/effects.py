"""Means over documents with intervals, as every number of a suite has them."""

from __future__ import annotations

from heedful.evaluation.evidence import Array
from heedful.inference.effect import Effect
from heedful.inference.interval import bootstrap_t

RESAMPLES = 1999
FLIPS = 9999
"""Sign vectors of a test whose p is adjusted for all its entries."""


def effects(values: Array) -> list[Effect]:
    """Means over documents with their 95 % intervals.

    Args:
        values: ``(document, column)``.
    """
    interval = bootstrap_t(values, resamples=RESAMPLES, seed=0)
    found = []
    for column in range(values.shape[1]):
        one = interval.at(column)
        found.append(Effect(estimate=float(one.estimate), low=float(one.low), high=float(one.high), n=int(one.units)))
    return found
