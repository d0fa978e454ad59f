"""Equivalence test: two one-sided tests (TOST) at a given margin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from heedful.errors import UsageError
from heedful.evaluation.result import Finding
from heedful.inference.skewness import above_p

Array = NDArray[np.float64]

ALPHA = 0.05

MARGINS = {
    "nat/token": 0.01,
    "nat": 0.05,
    "mass": 0.05,
    "mass within 3": 0.05,
    "log ratio": math.log(1.1),
    "log odds": math.log(1.1),
    "log": math.log(1.1),
}
"""Largest difference that counts as none, by unit; ``log`` is for claims judged on a log scale: a factor of 1.1."""


class Equivalence(StrEnum):
    """Outcome of comparing one claim: different, equivalent, or undecided."""

    EQUIVALENT = "EQUIVALENT"
    DIFFERENT = "DIFFERENT"
    NOT_SETTLED = "NOT SETTLED"


def check_margins(within: Mapping[str, float]) -> None:
    """Raise an error if a margin is not positive.

    Raises:
        UsageError: One is not.
    """
    for name, value in within.items():
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"within: {name}={value}: expected a positive number")


def margin_of(finding: Finding, within: Mapping[str, float]) -> float | None:
    """Return a claim's equivalence margin: as given for claim or unit, else from ``MARGINS``; None if there is none.

    Args:
        finding: A finding of the claim.
        within: Margins by claim or unit, on the scale on which the claim is judged.
    """
    unit = "log" if finding.detail.get("scale") == "log" else finding.unit
    return within.get(finding.claim, within.get(unit, MARGINS.get(unit)))


def paired_p(change: Array, margin: float) -> float:
    r"""Return the p-value of "the estimates differ by at least the margin": the larger of two one-sided paired tests.

    .. math:: p = \\max\\bigl(p_{\\mu \\le -m},\\; p_{\\mu \\ge m}\\bigr)

    Reading: at most 5 % means that the mean difference lies within the margin. Pitfall: a large p says nothing.
    Source: Schuirmann 1987, doi:10.1007/BF01068419; each test as ``inference.skewness.above_p``.

    Args:
        change: Second less first, ``(document,)``.
        margin: Largest difference that counts as none.
    """
    return float(max(above_p(change, -margin), above_p(-change, -margin)))


def unpaired_p(difference: float, low: float, high: float, margin: float) -> float:
    """Return the p-value of "the estimates differ by at least the margin", from a 95 % interval by a normal
    approximation.
    """
    from scipy.special import ndtr, ndtri

    quantile = float(ndtri(0.975))
    below, above = (difference - low) / quantile, (high - difference) / quantile
    if not (below > 0 and above > 0 and math.isfinite(below + above)):
        return math.nan
    return float(max(ndtr(-(difference + margin) / below), ndtr(-(margin - difference) / above)))


def answer(p_equivalent: float | None, p_different: float | None) -> Equivalence | None:
    """Return the outcome from two adjusted p-values; None if both are unknown.

    A difference that is shown, and shown to be within the margin, is EQUIVALENT: it is known to be small.
    """
    if p_equivalent is None and p_different is None:
        return None
    if p_equivalent is not None and p_equivalent <= ALPHA:
        return Equivalence.EQUIVALENT
    return Equivalence.DIFFERENT if p_different is not None and p_different <= ALPHA else Equivalence.NOT_SETTLED
