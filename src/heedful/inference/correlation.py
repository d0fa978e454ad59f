"""Rank correlation between two properties: over heads or layers, or over documents, which a bootstrap resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heedful.inference.interval import Interval
from heedful.inference.units import Array, as_units, resample_counts

SMALLEST_ITEMS = 8
TIE = 1e-9  # correlations nearer than this are equal up to rounding
# Below this the noise of the unit means pulls the correlation towards zero further than the interval can follow.
SMALLEST_RELIABILITY = 0.85


def spearman_over_units(
    x: ArrayLike, y: ArrayLike, *, level: float = 0.95, resamples: int = 1999, seed: int
) -> Interval:
    r"""Return the rank correlation over items (such as heads) between two properties; a bootstrap over units gives the
    interval.

    .. math:: \rho = \operatorname{corr}(\operatorname{rank} \bar x_h, \operatorname{rank} \bar y_h)

    The interval covers the correlation that infinitely many units would show for these items. It is the hull of the
    percentile interval and of its mirror image about the estimate (the basic interval): noise in the means pulls the
    correlation towards zero, the percentile interval repeats that pull and the basic one undoes it. Alone they covered
    between 0 and 95 % in simulation, their hull 91 to 98 % where the means are reliable,

    .. math:: 1 - \overline{s_h^2 / G} \,/\, \operatorname{var}_h(\bar x_h) \ge 0.85,

    and no interval is given elsewhere. Source: Spearman 1904, doi:10.2307/1412159; Efron and Tibshirani 1993, chapters
    13 and 16; Davison and Hinkley 1997, section 5.2.

    Reading: do heads with more of one thing have more of the other?
    Pitfall: says nothing about items that were not measured, and nothing about cause.

    Args:
        x: First property, ``(unit, item)``, any unit; NaN is missing, items without a finite mean are dropped.
        y: Second property of the same units and items, ``(unit, item)``.
        level: Nominal coverage.
        resamples: Number of resamples of units, the same for both properties.
        seed: Seed of the resamples.

    Returns:
        Correlation and bounds within [-1, 1]. The estimate is NaN where a property is the same for all items; the
        bounds also with fewer than 8 items, fewer than 2 units, or means too noisy to tell items apart.

    Raises:
        ValueError: The shapes differ or are not ``(unit, item)``, or the level lies outside (0, 1).
    """
    first, second = as_units(x), as_units(y)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"expected x and y (unit, item) of one shape, got {first.shape} and {second.shape}")
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ValueError(f"expected a level in (0, 1) and at least 1 resample, got {level} and {resamples}")
    first, second = _paired(first, second)
    once = np.ones((1, len(first)))
    estimate = float(_spearman(_resampled_means(once, first), _resampled_means(once, second))[0])
    low = high = np.nan
    enough = first.shape[1] >= SMALLEST_ITEMS and len(first) >= 2 and np.isfinite(estimate)
    if enough and min(_reliability(first), _reliability(second)) >= SMALLEST_RELIABILITY:
        blocks = resample_counts(len(first), resamples, seed)
        drawn = np.concatenate([_spearman(_resampled_means(c, first), _resampled_means(c, second)) for c in blocks])
        low, high = _hull(estimate, drawn, level)
    return Interval(estimate, float(low), float(high), len(first), level)


@dataclass(frozen=True)
class UnitCorrelation:
    """Rank correlation over units between two properties of several items.

    Attributes:
        interval: Mean of the items' correlations, with bounds by bootstrap over units.
        p: Share of random pairings of units whose mean correlation is as far from 0.
        each: Correlation of each item, ``(item,)``; NaN where a property is the same for all units.
        each_adjusted: p of each, adjusted for all items by the largest correlation of a pairing.
    """

    interval: Interval
    p: float
    each: Array
    each_adjusted: Array


def spearman_of_units(
    x: ArrayLike, y: ArrayLike, *, level: float = 0.95, resamples: int = 1999, seed: int
) -> UnitCorrelation:
    r"""Return the rank correlation over units (documents) between two properties, averaged over items (heads).

    .. math:: \rho = \frac1H \sum_h \operatorname{corr}_g(\operatorname{rank} x_{gh}, \operatorname{rank} y_{gh})

    p pairs each unit's x with the y of a random other unit, the same for all items, so that any dependence between
    items is kept. The interval is the hull of the percentile interval over resampled units and of its mirror image
    about the estimate. Source: Spearman 1904, doi:10.2307/1412159; Westfall and Young 1993, single-step max-T; Phipson
    and Smyth 2010, doi:10.2202/1544-6115.1585.

    Reading: do documents with more of one thing show more of the other?
    Pitfall: units that differ in a third property, such as length, correlate by it.

    Args:
        x: First property, ``(unit, item)``, any unit of measure; units with a NaN in any item are dropped.
        y: Second property of the same units and items, ``(unit, item)``.
        level: Nominal coverage.
        resamples: Number of resamples of units, and of random pairings.
        seed: Seed of both.

    Returns:
        Correlations and p-values; NaN with fewer than 3 units, or where a property is the same for all units.

    Raises:
        ValueError: The shapes differ or are not ``(unit, item)``, or the level lies outside (0, 1).

    Example:
        >>> import numpy as np
        >>> x = np.arange(10.0)[:, None]
        >>> spearman_of_units(x, x**2, seed=0).interval.estimate
        1.0
    """
    first, second = as_units(x), as_units(y)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"expected x and y (unit, item) of one shape, got {first.shape} and {second.shape}")
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ValueError(f"expected a level in (0, 1) and at least 1 resample, got {level} and {resamples}")
    kept = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    first, second = first[kept], second[kept]
    units, items = first.shape
    each = _spearman(first.T, second.T) if units > 2 else np.full(items, np.nan)
    known = np.isfinite(each)
    nothing = np.full(items, np.nan)
    if not known.any():
        return UnitCorrelation(Interval(np.nan, np.nan, np.nan, units, level), np.nan, each, nothing)
    first, second, estimate = first[:, known], second[:, known], float(each[known].mean())
    random = np.random.default_rng(seed)
    a, b = _standard_ranks(first), _standard_ranks(second)
    paired = np.stack([(a[random.permutation(units)] * b).sum(axis=0) for _ in range(resamples)])
    p = (1 + (np.abs(paired.mean(axis=1)) >= abs(estimate) - TIE).sum()) / (resamples + 1)
    largest = np.abs(paired).max(axis=1)
    nothing[known] = [(1 + (largest >= abs(one) - TIE).sum()) / (resamples + 1) for one in each[known]]
    draws = random.integers(units, size=(resamples, units))
    every = np.stack([_spearman(first[draw].T, second[draw].T) for draw in draws])
    drawn = every[np.isfinite(every).any(axis=1)]
    drawn = np.nanmean(drawn, axis=1)
    return UnitCorrelation(Interval(estimate, *_hull(estimate, drawn, level), units, level), float(p), each, nothing)


def _hull(estimate: float, drawn: Array, level: float) -> tuple[float, float]:
    """The least interval around the percentile interval of resampled correlations and its mirror image."""
    if not len(drawn):
        return float("nan"), float("nan")
    below, above = np.nanquantile(drawn, ((1.0 - level) / 2.0, (1.0 + level) / 2.0))
    low = max(-1.0, min(below, 2.0 * estimate - above))
    high = min(1.0, max(above, 2.0 * estimate - below))
    return float(low), float(high)


def _standard_ranks(values: Array) -> Array:
    """Average ranks over units of each item, centred and of length 1."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0) - (len(values) + 1) / 2.0
    return np.asarray(ranks / np.sqrt((ranks**2).sum(axis=0)))


def _paired(x: Array, y: Array) -> tuple[Array, Array]:
    """Units with a value of both properties, and items with a finite mean of both."""
    units = ~(np.isnan(x).all(axis=1) | np.isnan(y).all(axis=1))
    x, y = x[units], y[units]
    once = np.ones((1, len(x)))
    items = np.isfinite(_resampled_means(once, x)[0]) & np.isfinite(_resampled_means(once, y)[0])
    return x[:, items], y[:, items]


def _resampled_means(counts: Array, values: Array) -> Array:
    """Means ``(resample, item)`` over the units present, NaN where a resample holds none."""
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Array = (counts @ np.where(present, values, 0.0)) / (counts @ present.astype(np.float64))
    return means


def _spearman(x: Array, y: Array) -> Array:
    """Pearson correlation of average ranks along the last axis; NaN where one side is constant or has a NaN."""
    from scipy.stats import rankdata

    middle = (x.shape[-1] + 1) / 2.0
    a, b = (rankdata(side, axis=-1) - middle for side in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        rho: Array = (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.clip(rho, -1.0, 1.0)


def _reliability(values: Array) -> float:
    """Share of the variance between item means that is not noise; what units share over items is taken out first."""
    present = ~np.isnan(values)
    count = present.sum(axis=0)
    means = np.where(present, values, 0.0).sum(axis=0) / count
    residual = np.where(present, values - means, 0.0)
    shared = residual.sum(axis=1, keepdims=True) / np.maximum(present.sum(axis=1, keepdims=True), 1)
    noise = (np.where(present, residual - shared, 0.0) ** 2).sum(axis=0) / np.maximum(count - 1, 1) / count
    spread = means.var(ddof=1)
    return float(1.0 - noise.mean() / spread) if spread > 0 else 0.0
