"""Independent units, which are documents made of sequences: unit means, spread, and bootstrap resamples.

NaN-aware mean and maximum without warnings, and removal of differences caused only by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

BLOCK_BYTES = 4 * 2**20


def as_units(values: ArrayLike) -> Array:
    """Convert to a float64 array whose first axis is the independent unit.

    Args:
        values: Anything numpy reads as real numbers, ``(unit, ...)``.

    Returns:
        The same numbers, ``(unit, ...)``.

    Raises:
        ValueError: The input has no axis, or no unit.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[0] == 0:
        raise ValueError(f"expected values (unit, ...) with at least one unit, got shape {array.shape}")
    return array


def document_means(values: ArrayLike, document: ArrayLike) -> Array:
    r"""Average over the sequences of each document: ``(sequence, ...)`` to ``(document, ...)``.

    .. math:: x_g = \frac{1}{|S_g|} \sum_{s \in S_g} x_s, \qquad S_g = \{s \in g : x_s \text{ is not NaN}\}

    Reading: the values that every interval and test of this room takes; documents weigh the same whatever their length.
    Pitfall: sequences as units instead of documents under-cover: 84 % for a nominal 95 %, measured with four
    sequences a document and an intraclass correlation of 0.3. Source: Miller 2024, arXiv:2411.00640.

    Args:
        values: One number a sequence and entry, ``(sequence, ...)``, any unit.
        document: Label of each sequence's document, ``(sequence,)``; integers or strings.

    Returns:
        Means ``(document, ...)`` in the unit of ``values``, in the order of ``np.unique(document)``. NaN where every
        sequence of the document is NaN; infinities are not forgotten, their document's mean is infinite or NaN.

    Raises:
        ValueError: ``document`` does not hold one label a sequence.
    """
    numbers = as_units(values)
    labels = np.asarray(document)
    if labels.shape != numbers.shape[:1]:
        raise ValueError(
            f"expected one document label for each of {numbers.shape[0]} sequences, got shape {labels.shape}"
        )
    names, index = np.unique(labels, return_inverse=True)
    present = ~np.isnan(numbers)
    total = np.zeros((len(names), *numbers.shape[1:]))
    count = np.zeros_like(total)
    with np.errstate(invalid="ignore", divide="ignore"):
        np.add.at(total, index, np.where(present, numbers, 0.0))
        np.add.at(count, index, present.astype(np.float64))
        means: Array = total / count
    return means


def mean_and_spread(values: ArrayLike) -> tuple[Array, Array, NDArray[np.int64]]:
    r"""Return mean, sample standard deviation and number of units of each entry.

    .. math:: \bar x = \frac1G \sum_g x_g, \qquad s^2 = \frac{1}{G-1} \sum_g (x_g - \bar x)^2

    Pitfall: ``s`` is the spread between units, not the standard error, which is :math:`s/\sqrt G`.

    Args:
        values: One number a unit and entry, ``(unit, ...)``; NaN is missing.

    Returns:
        Mean ``(...)``, standard deviation ``(...)`` and units present ``(...)``. A constant entry has its exact value
        and spread 0. The mean is NaN where no unit is present or one is infinite; the spread also at one unit.
    """
    numbers = as_units(values)
    present = ~np.isnan(numbers)
    units = np.asarray(present.sum(axis=0), dtype=np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        lowest = np.fmin.reduce(numbers, axis=0)
        span = np.fmax.reduce(numbers, axis=0) - lowest
        scale = np.where(span > 0, span, 1.0)
        shifted = np.where(present, (numbers - lowest) / scale, 0.0)
        offset = shifted.sum(axis=0) / units
        deviation = np.where(present, shifted - offset, 0.0)
        spread = scale * np.sqrt((deviation**2).sum(axis=0) / (units - 1))
        undefined = np.isinf(numbers).any(axis=0)
        mean = np.where(undefined, np.nan, lowest + scale * offset)
        return mean, np.where(undefined | (units < 2), np.nan, spread), units


def resample_counts(units: int, resamples: int, seed: int) -> Iterator[Array]:
    """Yield blocks of bootstrap resamples, as counts of how often each unit is drawn, ``(resample, unit)``.

    Drawing counts turns every resampled mean into one matrix product. The numbers depend on ``units``, ``resamples``
    and ``seed`` alone. Source: Efron and Tibshirani 1993, section 6.2.

    Args:
        units: Units drawn from, with replacement, as many as there are.
        resamples: Number of resamples.
        seed: Seed of ``numpy.random.default_rng``.

    Yields:
        Counts ``(resample, unit)``, each row summing to ``units``; a block holds about 4 MiB.
    """
    random = np.random.default_rng(seed)
    size = max(1, BLOCK_BYTES // (8 * units))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = random.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


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
