"""Adjust for multiple tests: Holm for claims that name a head, Benjamini-Hochberg for counts of heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heedful.inference.units import Array


def holm(p: ArrayLike) -> Array:
    r"""Return Holm-adjusted p-values; rejecting p <= :math:`\alpha` has a family-wise error rate of at most
    :math:`\alpha`.

    .. math:: \tilde p_{(k)} = \max_{j \le k} \min\bigl(1, (m - j + 1)\, p_{(j)}\bigr)

    Reading: holds under any dependence; for named claims ("L5H1 is ...") and section verdicts.
    Pitfall: the family is what is passed in one call; pass all heads of one section together.
    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.

    Args:
        p: p-values of any shape, one family; NaN entries were not tested and are not of the family.

    Returns:
        Adjusted p-values of the same shape; NaN stays NaN.

    Raises:
        ValueError: A value lies outside [0, 1].
    """
    family, tested = _family(p)
    if not _in_unit_range(family):
        raise ValueError(f"expected p-values within [0, 1] or NaN, got {family.min():g} to {family.max():g}")
    order = np.argsort(family, kind="stable")
    steps = np.maximum.accumulate(family[order] * np.arange(len(family), 0, -1))
    adjusted = np.full(tested.shape, np.nan)
    ranked = np.empty_like(family)
    ranked[order] = np.minimum(steps, 1.0)
    adjusted[tested] = ranked
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Array:
    r"""Return Benjamini-Hochberg adjusted p-values; rejecting p <= q keeps the false discovery rate at most q.

    .. math:: \tilde p_{(k)} = \min_{j \ge k} \min\bigl(1, m\, p_{(j)} / j\bigr)

    Reading: for counts ("k of 144 heads ..."), where a few false ones are tolerable.
    Pitfall: says nothing for any one head by name; holds under independence and positive dependence.
    Source: Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x, by
    ``scipy.stats.false_discovery_control``.

    Args:
        p: p-values of any shape, one family; NaN entries were not tested and are not of the family.

    Returns:
        Adjusted p-values of the same shape; NaN stays NaN.

    Raises:
        ValueError: A value lies outside [0, 1].
    """
    from scipy.stats import false_discovery_control

    family, tested = _family(p)
    if not _in_unit_range(family):
        raise ValueError(f"expected p-values within [0, 1] or NaN, got {family.min():g} to {family.max():g}")
    adjusted = np.full(tested.shape, np.nan)
    if len(family):
        adjusted[tested] = false_discovery_control(family, method="bh")
    return adjusted


def count_discoveries(p: ArrayLike, q: float = 0.05) -> int:
    """Return the number of tests that the Benjamini-Hochberg procedure rejects.

    Source: Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.

    Args:
        p: Unadjusted p-values of any shape, one family; NaN entries were not tested.
        q: Tolerated expected share of false ones among them.

    Returns:
        Count of rejected tests, 0 for an empty family.

    Raises:
        ValueError: ``q`` lies outside (0, 1).
    """
    if not 0.0 < q < 1.0:
        raise ValueError(f"expected q between 0 and 1, got {q}")
    return int((benjamini_hochberg(p) <= q).sum())


def _family(p: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """The p-values that count, and where they stand."""
    values = np.asarray(p, dtype=np.float64)
    tested: NDArray[np.bool_] = np.asarray(~np.isnan(values))
    return values[tested], tested


def _in_unit_range(family: Array) -> bool:
    """Whether all values lie in [0, 1]."""
    return len(family) == 0 or bool(family.min() >= 0.0 and family.max() <= 1.0)
