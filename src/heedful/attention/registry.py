"""Statistics register themselves here, each under its own name with its facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from heedful.plugins import Registry

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class StatisticFacts:
    """What is fixed about a statistic: its moments, unit, bounds and source."""

    name: str
    compute: Callable[..., Any]
    needs: tuple[str, ...]
    unit: str
    bounds: tuple[float, float]
    source: str


STATISTICS: Registry[StatisticFacts] = Registry("statistics", "statistic")


def statistic(
    *, needs: tuple[str, ...], unit: str, bounds: tuple[float, float], source: str
) -> Callable[[Function], Function]:
    """Register a function of row moments under its own name.

    Raises:
        ValueError: The name is taken.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        STATISTICS.add(name, StatisticFacts(name, function, needs, unit, bounds, source))
        return function

    return register
