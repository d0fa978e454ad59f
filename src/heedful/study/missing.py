"""Means and maxima that pass over missing values and stay silent about having none."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean_of(values: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Mean over an axis of the values that are there.

    Returns:
        NaN where none is.
    """
    there = np.isfinite(values)
    count = np.asarray(there.sum(axis=axis), dtype=float)
    total = np.where(there, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full_like(count, math.nan), where=count > 0))


def largest_of(values: Array) -> float:
    """Largest of the values that are there, infinite ones included; NaN where none is."""
    there = values[~np.isnan(values)]
    return float(there.max()) if there.size else math.nan
