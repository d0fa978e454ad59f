"""Format numbers for table cells."""

from __future__ import annotations

import math

from heedful.inference.effect import Effect

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
