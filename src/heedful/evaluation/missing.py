"""NaN-aware mean and maximum without warnings, and removal of differences caused only by rounding."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-6
"""Largest difference that rounding in float32 makes between means of the same thing, relative above 1."""


def mean_of(values: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Return the mean over an axis, ignoring NaN.

    Returns:
        NaN where none is.
    """
    there = np.isfinite(values)
    count = np.asarray(there.sum(axis=axis), dtype=float)
    total = np.where(there, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full_like(count, math.nan), where=count > 0))


def without_rounding(units: Array) -> Array:
    """Replace values that differ only by rounding by their mean.

    A head that does the same in every document must not seem to vary: with many ties and one difference of 1e-8, no
    bootstrap can bound its mean.

    Args:
        units: ``(unit, ...)``; NaN stays NaN.
    """
    middle = mean_of(units, axis=0)
    apart = np.abs(units - middle)
    same = np.where(np.isnan(apart), 0.0, apart).max(axis=0) <= ROUNDING * np.maximum(1.0, np.abs(middle))
    return np.asarray(np.where(same & np.isfinite(units), middle, units))


def largest_of(values: Array) -> float:
    """Return the largest value, ignoring NaN; infinity counts, and NaN is returned if there is no value."""
    there = values[~np.isnan(values)]
    return float(there.max()) if there.size else math.nan
