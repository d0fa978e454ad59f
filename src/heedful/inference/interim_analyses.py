"""Group-sequential analyses with one overall error rate: O'Brien-Fleming boundary on transformed t statistics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from heedful.inference.interval import Interval
from heedful.inference.skewness import skewed_bounds, skewed_tail
from heedful.inference.units import Array

GRID, REACH = 2001, 6.0
"""Points and half width, in standard deviations of the last look, of the grid on which the walk is followed."""


@lru_cache(maxsize=256)
def obrien_fleming(fractions: tuple[float, ...], level: float = 0.95) -> float:
    r"""Return O'Brien and Fleming's boundary constant for analyses after these fractions of the data.

    .. math:: P\Bigl(\max_k |B(f_k)| > c\Bigr) = 1 - \text{level}, \qquad |z_k| > c / \sqrt{f_k} \text{ stops}

    where ``B`` is Brownian motion. Source: O'Brien and Fleming 1979, doi:10.2307/2530245; Armitage, McPherson and Rowe
    1969, doi:10.2307/2343787.

    Reading: 1.96 for one look, 1.973 for five at doubling data: the last look costs next to nothing.
    Pitfall: the first looks stop for huge effects alone.

    Args:
        fractions: Share of the data at each look, increasing, the last 1.
        level: Nominal coverage over all looks together.

    Returns:
        The constant ``c``.

    Raises:
        ValueError: The shares do not increase to 1.
    """
    from scipy.optimize import brentq

    _check(fractions)
    return float(brentq(lambda c: _crossed(fractions, c) - (1.0 - level), 1.0, 5.0, xtol=1e-6))


def repeated_interval(values: ArrayLike, look: int, fractions: tuple[float, ...], *, level: float = 0.95) -> Interval:
    r"""Return the interval of a mean at one interim analysis; all analyses together keep the coverage.

    .. math:: \bar x \pm \bigl(t_k + a_\pm (1 + 2 t_k^2)\bigr)\, s / \sqrt n, \qquad
              t_k = T^{-1}_{n-1}\bigl(\Phi(c / \sqrt{f_k})\bigr)

    with the allowance for skew of :func:`~heedful.inference.skewness.skew_t`; one look at everything is that interval.

    Reading: decide and stop as soon as it lies beyond a margin; the error over all looks is 1 - level.
    Pitfall: at the first looks it is wide: five standard errors at a quarter of the data and 16 units.
    Source: Jennison and Turnbull 1989, doi:10.1111/j.2517-6161.1989.tb01764.x.

    Args:
        values: One number a unit seen so far, and entry, ``(unit, ...)``; NaN units are dropped entry by entry.
        look: Which look this is, from 0.
        fractions: Share of the data at each look, increasing, the last 1.
        level: Nominal coverage over all looks together.

    Returns:
        Interval in the unit of ``values``; NaN bounds below two units or where a unit is infinite.

    Raises:
        ValueError: The shares do not increase to 1.
    """
    from scipy.stats import norm

    tail = float(norm.sf(obrien_fleming(fractions, level) / np.sqrt(fractions[look])))
    return skewed_bounds(values, tail, level)


def repeated_p(values: ArrayLike, look: int, fractions: tuple[float, ...]) -> float:
    r"""Return the two-sided p-value of a zero mean at one interim analysis, valid whenever you stop.

    .. math:: p = P\Bigl(\max_j |B(f_j)| \ge |z_k| \sqrt{f_k}\Bigr), \qquad z_k = \Phi^{-1}(T_{n-1}(q_k))

    with ``q`` the t that is left after the allowance for skew of :func:`~heedful.inference.skewness.skew_p`.

    Source: Jennison and Turnbull 1999, ISBN 0-8493-0316-8, section 9.2.

    Args:
        values: One number a unit seen so far, ``(unit,)``; NaN is dropped.
        look: Which look this is, from 0.
        fractions: Share of the data at each look, increasing, the last 1.

    Returns:
        p; NaN below two units or without spread.
    """
    from scipy.stats import norm

    _check(fractions)
    tail = skewed_tail(values)
    if np.isnan(tail):
        return tail
    return min(1.0, _crossed(fractions, float(min(norm.isf(tail), 35.0)) * float(np.sqrt(fractions[look]))))


def _check(fractions: Sequence[float]) -> None:
    if not fractions or fractions[0] <= 0 or fractions[-1] != 1 or (np.diff(fractions) <= 0).any():
        raise ValueError(f"expected shares of the data that increase to 1, got {fractions}")


def _crossed(fractions: tuple[float, ...], boundary: float) -> float:
    """Chance that Brownian motion is beyond the boundary at any of these times."""
    from scipy.stats import norm

    grid = np.linspace(-REACH, REACH, GRID)
    step = grid[1] - grid[0]
    inside = np.clip((boundary - np.abs(grid)) / step + 0.5, 0.0, 1.0)
    density: Array = norm.pdf(grid, scale=np.sqrt(fractions[0])) * inside
    crossed = 2.0 * float(norm.sf(boundary / np.sqrt(fractions[0])))
    for before, now in pairwise(fractions):
        scale = np.sqrt(now - before)
        beyond = norm.sf((boundary - grid) / scale) + norm.sf((boundary + grid) / scale)
        crossed += float((density * beyond).sum() * step)
        offsets = np.arange(-(GRID - 1), GRID) * step
        density = np.convolve(density, norm.pdf(offsets, scale=scale) * step, mode="valid") * inside
    return crossed
