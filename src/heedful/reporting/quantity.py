"""Format numbers for readers: about three digits, units, intervals, and p-values that are never zero.

Format numbers for table cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from heedful.inference.mean_interval import Effect

UNDEFINED = "undefined"
_SMALLEST_P = 1e-4


def number(value: float | None) -> str:
    """Format a number with about three significant digits; None and NaN are shown as ``undefined``."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if value == 0:
        return "0"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"
    if abs(value) >= 0.1:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.4f}" if abs(value) >= 0.001 else f"{value:.3g}"


def short_number(value: float) -> str:
    """Format a number in at most seven cells: three decimals, or one digit and a power of ten."""
    if value == 0 or 0.0005 <= abs(value) < 1000:
        return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"
    return f"{value:.0e}" if math.isfinite(value) else "-"


def quantity(value: float | None, unit: str) -> str:
    """Format a number with its unit; None and NaN are shown as ``undefined``, without a unit."""
    text = number(value)
    return text if text == UNDEFINED or not unit else f"{text} {unit}"


def margin(value: float) -> str:
    """Format a threshold as briefly as possible."""
    return f"margin {value:.3g}"


def interval(bounds: Sequence[float]) -> str:
    """Format a 95 % interval."""
    return f"95% [{number(bounds[0])}, {number(bounds[1])}]"


def probability(name: str, value: float) -> str:
    """Format a named p-value; a small one is shown as a bound, never as zero."""
    return f"{name} < {_SMALLEST_P:.4f}" if value < _SMALLEST_P else f"{name} = {value:#.2g}"


def count(total: int, singular: str, plural: str = "") -> str:
    """Format a count with its noun: ``1 head``, ``24 heads``."""
    return f"{total:,} {singular if total == 1 else plural or singular + 's'}"


NONE = "-"
WORDS = {
    "within": "within the margin both ways",
    "costs": "costs more than the margin",
    "helps": "better than before by more than the margin",
    "not settled": "not settled by these documents",
    "insufficient data": "too few documents",
    "no loss": "no loss to judge by",
}
"""Verdicts on a loss difference, in words."""


def small(value: float) -> str:
    """Format a positive number that may be very small."""
    if not math.isfinite(value):
        return NONE
    return f"{value:.1e}" if 0 < abs(value) < 0.0995 else f"{value:.2f}"


def share(value: float) -> str:
    """Format a fraction as a percentage."""
    return f"{value:.1%}" if math.isfinite(value) else NONE


def change(effect: Effect | None) -> str:
    """Format a loss difference in nats per token, with its sign."""
    return NONE if effect is None or not math.isfinite(effect.estimate) else _signed(effect.estimate)


def bounds(effect: Effect | None) -> str:
    """Format the interval of a loss difference."""
    if effect is None or not (math.isfinite(effect.low) and math.isfinite(effect.high)):
        return NONE
    return f"[{_signed(effect.low)}, {_signed(effect.high)}]"


def _signed(value: float) -> str:
    return f"{value:+.4f}" if abs(value) < 1 else f"{value:+.3f}"


def correlation(value: float) -> str:
    """Format a correlation, with its sign."""
    return f"{value:+.2f}" if math.isfinite(value) else NONE


def p_value(value: float) -> str:
    """Format a p-value; a small one is shown as a bound such as ``<.0001``, never as zero."""
    return NONE if not math.isfinite(value) else "<.0001" if value < 1e-4 else f"{value:#.2g}"
