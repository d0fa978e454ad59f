"""Derive a verdict from an interval and two margins: present, absent, or unsettled.

Power analysis: smallest detectable effect for a number of units, and units needed for an effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heedful.inference.interval import Interval
from heedful.inference.units import Array
from heedful.inference.verdict import Verdict

ALPHA = 0.05
MANY_UNITS = 1e6


def judge(
    interval: Interval,
    *,
    present_above: float,
    absent_below: float,
    units: int,
    p_adjusted: float | None = None,
    null_available: bool = True,
    required: bool = False,
    smallest: int = 16,
    detectable: float | None = None,
    needed: Callable[[float], float] | None = None,
) -> tuple[Verdict, str]:
    """Judge "the effect is above its margin" by the whole interval, never by the point estimate.

    In this order: UNDEFINED without an estimate; INSUFFICIENT DATA below ``smallest`` units; PASS where the interval
    lies above ``present_above`` and no null speaks against it; ABSENT (FAIL if the claim was required) where it lies
    below ``absent_below``; else WARN, with the effect these units could have detected and the units that would settle
    it. WARN also where the interval clears its margin but untrained models do as well, or none could be built.

    Reading: PASS means larger than a stated margin and more than an untrained model shows.
    Pitfall: ABSENT is a statement about size ("less than the margin"), WARN is none at all. An effect whose absence
    means "near zero" wants :func:`equivalent`. Power speaks only where the interval does not: one that clears its
    margin is conclusive however large the detectable effect. Source: Altman and Bland 1995,
    doi:10.1136/bmj.311.7003.485; Schuirmann 1987, doi:10.1007/BF01068419; Lakens 2017, doi:10.1177/1948550617697177.

    Args:
        interval: Estimate and bounds of one entry, in any unit.
        present_above: Margin that the lower bound must exceed, same unit.
        absent_below: Margin below which the upper bound means absence, same unit, at most ``present_above``.
        units: Independent units behind the interval.
        p_adjusted: Adjusted p against the null models; None where the claim has no such null.
        null_available: False where the claim has a null but no null model could be built; PASS is then withheld.
        required: Whether absence is a failure.
        smallest: Units below which nothing is claimed.
        detectable: Minimal detectable effect with these units, same unit; None to derive it from the interval.
        needed: Units that an effect so far beyond its margin takes; None for a normal approximation.

    Returns:
        The verdict, and one sentence with the numbers that led to it.

    Raises:
        ValueError: The interval holds several entries, or a margin is NaN, or the margins overlap.
    """
    if np.ndim(interval.estimate) or np.ndim(interval.low) or np.ndim(interval.high):
        raise ValueError("expected the interval of one entry, got several; take one with interval.at(layer, head)")
    if not absent_below <= present_above:
        raise ValueError(f"expected absent_below <= present_above, got {absent_below} and {present_above}")
    if math.isnan(float(interval.estimate)):
        return Verdict.UNDEFINED, f"the effect has no defined value over {units} units"
    seen = interval.text()
    if units < smallest:
        return Verdict.INSUFFICIENT, f"{seen} rests on {units} units; at least {smallest} are needed"
    low, high = float(interval.low), float(interval.high)
    if math.isnan(low) or math.isnan(high):
        return Verdict.INSUFFICIENT, f"{seen} has no interval although {units} units were measured"
    if low > present_above:
        return _against_null(f"{seen} lies above {present_above:.3g}", p_adjusted, null_available)
    if high < absent_below:
        verdict = Verdict.FAIL if required else Verdict.ABSENT
        wanted = ", and the claim was required" if required else ""
        return verdict, f"{seen} lies below {absent_below:.3g} over {units} units{wanted}"
    return Verdict.WARN, f"{seen} {_unsettled(interval, present_above, absent_below, units, detectable, needed)}"


def equivalent(interval: Interval, margin: float) -> bool | NDArray[np.bool_]:
    r"""Return whether the whole interval lies within ±``margin``, so that the effect is practically zero.

    .. math:: -\delta < \text{low} \quad\text{and}\quad \text{high} < \delta

    Reading: two one-sided tests, each at half of 1 - level (2.5 % at 95 %).
    Pitfall: False does not mean that there is an effect. Source: Schuirmann 1987, doi:10.1007/BF01068419.

    Args:
        interval: Interval of one entry or many.
        margin: Largest effect that counts as none, in the unit of the interval.

    Returns:
        One answer an entry; False where a bound is NaN.

    Raises:
        ValueError: The margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"expected a positive margin, got {margin}")
    within: NDArray[np.bool_] = np.asarray((np.asarray(interval.low) > -margin) & (interval.high < margin))
    return within if within.ndim else bool(within)


def _against_null(cleared: str, p_adjusted: float | None, null_available: bool) -> tuple[Verdict, str]:
    """Verdict on an interval that clears its margin, given what untrained models show."""
    if not null_available:
        return Verdict.WARN, f"{cleared}, but no null model could be built: descriptive only"
    if p_adjusted is None:
        return Verdict.PASS, cleared
    if math.isnan(p_adjusted):
        return Verdict.WARN, f"{cleared}, but the null is undefined: descriptive only"
    if p_adjusted <= ALPHA:
        return Verdict.PASS, f"{cleared} and exceeds the null (adjusted p {p_adjusted:.3g})"
    return Verdict.WARN, f"{cleared}, but the null shows an effect as large (adjusted p {p_adjusted:.3g} > {ALPHA})"


def _unsettled(
    interval: Interval,
    above: float,
    below: float,
    units: int,
    detectable: float | None,
    by_rule: Callable[[float], float] | None,
) -> str:
    """Why an interval decides nothing, and how many units would."""
    estimate = float(interval.estimate)
    if detectable is None or math.isnan(detectable):
        detectable = detectable_by(float(interval.low), float(interval.high), interval.level)
    if not math.isfinite(detectable):
        return f"is unbounded over {units} units: too few of them differ"
    shown = f"the detectable effect with {units} units is {detectable:.3g}"
    if below <= estimate <= above:
        margins = f"{above:.3g}" if below == above else f"{below:.3g} to {above:.3g}"
        return f"is inconclusive: the estimate does not leave the margin {margins}, and {shown}"
    margin = above if estimate > above else below
    shortfall = min(abs(detectable / (estimate - margin)), MANY_UNITS)
    takes = units * shortfall**2 if by_rule is None else by_rule(abs(estimate - margin))
    needed = max(units + 1.0, math.ceil(min(MANY_UNITS, takes)))
    words = f"about {needed:.0f}" if needed < MANY_UNITS else "more than a million"
    return f"is inconclusive and crosses {margin:.3g}: {shown}, and {words} units are needed"


def detectable_by(low: float, high: float, level: float = 0.95) -> float:
    """Return the smallest effect that a design detects, read from the width of an interval that it gave.

    It is the effect that stands beside a verdict that settles nothing.

    Args:
        low: Lower bound.
        high: Upper bound.
        level: Coverage of the interval.

    Returns:
        Effect in the unit of the bounds; NaN where one is NaN, infinite where one is.
    """
    from scipy.special import ndtri

    error = (high - low) / 2.0 / float(ndtri((1.0 + level) / 2.0))
    return float(minimal_detectable_effect(error, 1, alpha=1.0 - level))


def minimal_detectable_effect(
    sd: ArrayLike, units: ArrayLike, *, alpha: float = 0.05, power: float = 0.8, tests: int = 1
) -> Array | float:
    r"""Return the smallest true mean that a two-sided test detects with the given power.

    .. math:: \Delta = (z_{1-\alpha/2m} + z_{\text{power}})\, s / \sqrt G

    Reading: stands beside every inconclusive verdict; 64 units see 0.35 sd for one test, 0.56 sd for 144.
    Pitfall: normal approximation, a little small below 16 units. It describes the design, not the data: an interval
    that clears its margin needs no power. Source: Cohen 1988, ISBN 0-8058-0283-5; Miller 2024,
    arXiv:2411.00640.

    Args:
        sd: Standard deviation between units, any shape, such as the second result of ``mean_and_spread``.
        units: Number of units G, broadcast against ``sd``.
        alpha: Two-sided level of the whole family.
        power: Chance of finding the effect.
        tests: Size of the family m (Bonferroni).

    Returns:
        Effect in the unit of ``sd``; NaN where ``sd`` is NaN or there is no unit.

    Raises:
        ValueError: A standard deviation or unit count is negative, or a rate or family size is out of range.
    """
    spread, count = np.asarray(sd, dtype=np.float64), np.asarray(units, dtype=np.float64)
    if (spread < 0).any() or (count < 0).any():
        raise ValueError("expected standard deviations and unit counts of at least 0, got a negative one")
    effect: Array = np.asarray(
        _quantile_sum(alpha, power, tests) * spread / np.sqrt(np.where(count > 0, count, np.nan))
    )
    return effect[()]


def units_needed(effect_in_sd: float, tests: int = 1, *, alpha: float = 0.05, power: float = 0.8) -> int:
    r"""Return the number of units that detects a mean of ``effect_in_sd`` standard deviations with the given power.

    .. math:: G = \lceil ((z_{1-\alpha/2m} + z_{\text{power}}) / d)^2 \rceil, \qquad d = |\Delta| / s

    Reading: 32 units for d = 0.5 and one test, 79 for 144 tests. Pitfall: a normal approximation.
    Source: Cohen 1988, ISBN 0-8058-0283-5; Miller 2024, arXiv:2411.00640.

    Args:
        effect_in_sd: Effect over the standard deviation between units; its sign does not matter.
        tests: Size of the family m (Bonferroni).
        alpha: Two-sided level of the whole family.
        power: Chance of finding the effect.

    Returns:
        Number of units.

    Raises:
        ValueError: The effect is 0 or not finite, so that no number of units is enough, or a rate or family size is
            out of range.
    """
    if effect_in_sd == 0 or not math.isfinite(effect_in_sd):
        raise ValueError(f"expected a finite effect other than 0, got {effect_in_sd}")
    return math.ceil((_quantile_sum(alpha, power, tests) / effect_in_sd) ** 2)


def _quantile_sum(alpha: float, power: float, tests: int) -> float:
    """Normal quantiles of the corrected level and of the power, added.

    Args:
        alpha: Two-sided level of the whole family.
        power: Chance of finding the effect.
        tests: Size of the family.

    Returns:
        Their sum, in standard errors.

    Raises:
        ValueError: A rate lies outside (0, 1) or the family is empty.
    """
    from scipy.special import ndtri

    if not (0.0 < alpha < 1.0 and 0.0 < power < 1.0) or tests < 1:
        raise ValueError(
            f"expected alpha and power in (0, 1) and at least 1 test, got alpha {alpha}, power {power}, tests {tests}"
        )
    return float(ndtri(1.0 - alpha / (2.0 * tests)) + ndtri(power))
