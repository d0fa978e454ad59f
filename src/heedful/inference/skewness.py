"""Student's interval and p with an allowance for skew: a long tail that few units can show is counted against them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heedful.inference.interval import Interval
from heedful.inference.units import Array, as_units, mean_and_spread

UNSEEN = 24.0
"""How much of a tail ``n`` units may not show, as ``1 + 24 / sqrt(n)`` times Johnson's term. Found by simulation: with
it the mean of log-normal units of skew 6 lies above its bound in 2.0 to 2.8 % of samples of 16 to 512 units."""


def skew_t(values: ArrayLike, *, level: float = 0.95) -> Interval:
    r"""Student's interval of the mean over units, longer towards the long tail.

    .. math:: \Bigl[\bar x - \frac{s}{\sqrt n}\bigl(t + a_-(1 + 2t^2)\bigr),\;
              \bar x + \frac{s}{\sqrt n}\bigl(t + a_+(1 + 2t^2)\bigr)\Bigr], \qquad
              a_\pm = \Bigl(1 + \frac{24}{\sqrt n}\Bigr)\frac{\max(\pm g, 0)}{6\sqrt n}

    with ``t`` Student's quantile and ``g`` the sample's skewness. Without the factor in front it is Johnson's
    correction; the factor is for the skewness that few units show too little of, and goes to 1. The side of the short
    tail stays Student's.

    Reading: where values are skewed, a sample without its largest ones has too small a mean *and* too small a spread,
    so that "less than the margin" is said too often: by t in 14, 9 and 6 % at 16, 64 and 256 units of skew 6, by the
    studentised bootstrap in 8, 5 and 3.5 %, here in 2.7, 2.1 and 2.2 %.
    Pitfall: normal units pay for it where they are few: an effect found in 72 % of samples of 16 is found in 57 %, of
    64 in 76 % where it was 79 %. A tail that no unit of the sample shows cannot be allowed for.
    Source: Johnson 1978, Journal of the American Statistical Association 73:536, for the correction; the factor by
    simulation (LOG.md).

    Args:
        values: One number a unit and entry, ``(unit, ...)``; NaN units are dropped entry by entry.
        level: Nominal coverage.

    Returns:
        Interval in the unit of ``values``; NaN bounds below two units or where a unit is infinite.

    Raises:
        ValueError: The level lies outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    return skewed_bounds(values, (1.0 - level) / 2.0, level)


def skew_p(values: ArrayLike) -> float:
    """Two-sided p of a zero mean: 1 - level of the :func:`skew_t` interval that just reaches 0.

    Reading: Student's p where the mean lies on the side of the long tail, and larger on the other.
    Source: Johnson 1978, Journal of the American Statistical Association 73:536.

    Args:
        values: One number a unit, ``(unit,)``; NaN is dropped.

    Returns:
        p; NaN below two units or without spread.
    """
    return 2.0 * skewed_tail(values)


def skewed_bounds(values: ArrayLike, tail: float, level: float) -> Interval:
    """The interval of :func:`skew_t` with a given chance beyond either bound.

    Args:
        values: One number a unit and entry, ``(unit, ...)``.
        tail: Chance beyond each bound, at most a half.
        level: What the interval promises, in words of its caller.
    """
    from scipy.stats import t

    estimate, spread, units = mean_and_spread(values)
    left, right = _allowances(values, estimate, spread, units)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        quantile = t.isf(tail, np.where(units > 1, units - 1, np.nan))
        error = spread / np.sqrt(units)
        low, high = (
            np.where(side > 0, quantile + side * (1.0 + 2.0 * quantile**2), quantile) * error for side in (left, right)
        )
    found = Interval(estimate, np.asarray(estimate - low), np.asarray(estimate + high), units, level)
    return found if estimate.ndim else found.at()


def skewed_tail(values: ArrayLike) -> float:
    r"""One-sided chance at which a bound of :func:`skewed_bounds` reaches 0, the solution of

    .. math:: q + a\,(1 + 2 q^2) = |\bar x| \sqrt n / s

    for Student's ``q``, with the allowance ``a`` of the side on which 0 lies.

    Args:
        values: One number a unit, ``(unit,)``; NaN is dropped.

    Returns:
        At most a half; NaN below two units or without spread.
    """
    from scipy.stats import t

    mean, spread, units = mean_and_spread(values)
    if units < 2 or not spread > 0:
        return float("nan")
    left, right = _allowances(values, mean, spread, units)
    side = float(left if mean > 0 else right)
    beyond = max(abs(float(mean)) / float(spread) * float(np.sqrt(units)) - side, 0.0)
    return float(t.sf(2.0 * beyond / (1.0 + np.sqrt(1.0 + 8.0 * side * beyond)), float(units) - 1.0))


def _allowances(values: ArrayLike, mean: Array, spread: Array, units: NDArray[np.int64]) -> tuple[Array, Array]:
    """Johnson's factor ``g / (6 sqrt(n))``, enlarged by what the units may not show, below the mean and above it."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = (as_units(values) - mean) / spread
        skewness = np.nansum(scores**3, axis=0) / units * (units / (units - 1.0)) ** 1.5
        allowance = (1.0 + UNSEEN / np.sqrt(units)) * skewness / (6.0 * np.sqrt(units))
    allowance = np.where(np.isfinite(allowance), allowance, 0.0)
    return np.maximum(-allowance, 0.0), np.maximum(allowance, 0.0)
