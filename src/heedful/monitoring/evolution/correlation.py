"""Rank correlation over the heads of a run, with a bootstrap over layers or heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

SMALLEST = 8
"""Layers, or heads, below which no interval is given."""
RESAMPLES = 1999

Measure = Callable[[NDArray[np.float64], NDArray[np.float64]], float]


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its bootstrap interval.

    Attributes:
        estimate: Spearman's or what was asked for, NaN where a side is constant.
        low: Lower bound, 95 %; NaN where there is no interval.
        high: Upper bound.
        n: Items.
        units: What was resampled, ``layers`` or ``heads``; empty without an interval.
    """

    estimate: float
    low: float
    high: float
    n: int
    units: str


def correlation(
    x: ArrayLike, y: ArrayLike, layers: ArrayLike, *, seed: int = 0, measure: Measure | None = None
) -> Correlation:
    """Return Spearman's correlation, or another measure, with a bootstrap percentile interval.

    ``spearman_over_units`` resamples documents with the heads as they are; a table keeps no value of a document, so
    here the heads are resampled: whole layers where there are 8, since heads of a layer share a gain and an input,
    else single heads.

    Pitfall: the interval is about other heads of such a model, not about other seeds or texts; over single heads it is
    too narrow where heads of a layer are alike. Source: Efron and Tibshirani 1993, chapter 13.

    Args:
        x: First property, ``(item,)``.
        y: Second property of the same items.
        layers: Layer of each item.
        seed: Seed of the resamples.
        measure: What is measured of both; None for ``spearman``.
    """
    measured = measure or spearman
    first, second, layer = np.asarray(x, float), np.asarray(y, float), np.asarray(layers)
    known = np.isfinite(first) & np.isfinite(second)
    first, second, layer = first[known], second[known], layer[known]
    n, estimate = len(first), measured(first, second)
    parts = [np.flatnonzero(layer == one) for one in np.unique(layer)]
    units = "layers" if len(parts) >= SMALLEST else "heads"
    if units == "heads":
        parts = [np.array([item]) for item in range(n)]
    if len(parts) < SMALLEST or not np.isfinite(estimate):
        return Correlation(estimate, np.nan, np.nan, n, "")
    draws = np.random.default_rng(seed).integers(len(parts), size=(RESAMPLES, len(parts)))
    found = []
    for draw in draws:
        items = np.concatenate([parts[part] for part in draw])
        found.append(measured(first[items], second[items]))
    low, high = np.nanquantile(found, (0.025, 0.975))
    return Correlation(estimate, float(low), float(high), n, units)


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; NaN with fewer than three items or a constant argument."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the Pearson correlation; NaN with fewer than three items or a constant argument."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
