"""Numbers as a reader wants them: three digits, a unit, an interval, a p-value that never says zero."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNDEFINED = "undefined"
_SMALLEST_P = 1e-4


def number(value: float | None) -> str:
    """A number in about three significant digits; ``undefined`` where there is none."""
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
    return f"{value:.3g}" if abs(value) < 1e-3 else f"{value:#.3g}".rstrip(".")


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit."""
    return number(value) if value is None or not unit else f"{number(value)} {unit}"


def margin(value: float, unit: str) -> str:
    """A threshold with its unit, written as short as it was chosen."""
    return f"margin {value:.3g}" + (f" {unit}" if unit else "")


def interval(bounds: Sequence[float]) -> str:
    """A 95 % interval."""
    return f"95% [{number(bounds[0])}, {number(bounds[1])}]"


def probability(name: str, value: float) -> str:
    """A p-value under its name; a small one is bounded, never zero."""
    if math.isnan(value):
        return f"{name} {UNDEFINED}"
    return f"{name} < {_SMALLEST_P:.4f}" if value < _SMALLEST_P else f"{name} = {value:#.2g}"


def count(total: int, singular: str, plural: str = "") -> str:
    """A count with its noun."""
    return f"{total:,} {singular if total == 1 else plural or singular + 's'}"
