"""Means over documents with intervals, for all numbers of a suite."""

from __future__ import annotations

from numpy.typing import ArrayLike

from heedful.evaluation.evidence import Array
from heedful.inference.effect import Effect
from heedful.inference.mean_interval import UNBOUNDED, mean_interval

FLIPS = 9999
"""Sign vectors of a test whose p is adjusted for all its entries."""


def effects(values: Array, within: tuple[ArrayLike, ArrayLike] = UNBOUNDED) -> list[Effect]:
    """Return the mean over documents of each column of ``values``, ``(document, column)``, with its 95 % interval.

    Args:
        values: ``(document, column)``.
        within: Least and largest value that a mean can have, each a number or one a column.
    """
    interval = mean_interval(values, within=within)
    found = []
    for column in range(values.shape[1]):
        one = interval.at(column)
        found.append(Effect(estimate=float(one.estimate), low=float(one.low), high=float(one.high), n=int(one.units)))
    return found
