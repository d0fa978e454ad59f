"""Registry of statistics, by name, with the fixed facts of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from heedful.errors import CallError
from heedful.plugins import Registry

if TYPE_CHECKING:
    from heedful.attention.engines.moments import RowMoments

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class StatisticFacts:
    """Fixed facts of a statistic: needed moments, unit, bounds and source."""

    name: str
    compute: Callable[..., Any]
    needs: tuple[str, ...]
    unit: str
    bounds: tuple[float, float]
    source: str

    def of(self, moments: RowMoments) -> Tensor:
        """Compute the statistic for every row.

        Args:
            moments: Of a call.

        Returns:
            One number a query row, of the shape of ``moments.visible``.

        Raises:
            CallError: The function raised, or gave something of another shape; the message names the statistic.
        """
        try:
            value: Tensor = self.compute(moments)
        except Exception as error:  # a statistic of another package may raise anything
            raise CallError(f"statistic {self.name}: {type(error).__name__}: {error}") from error
        if getattr(value, "shape", None) != moments.visible.shape:
            wanted, found = tuple(moments.visible.shape), getattr(value, "shape", type(value).__name__)
            raise CallError(f"statistic {self.name}: expected one number a row, of shape {wanted}; got {found}")
        return value


STATISTICS: Registry[StatisticFacts] = Registry("statistics", "statistic")


def statistic(
    *, needs: tuple[str, ...], unit: str, bounds: tuple[float, float], source: str
) -> Callable[[Function], Function]:
    """Decorator that registers a function of row moments as a statistic under its own name.

    Raises:
        ValueError: The name is taken.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        STATISTICS.add(name, StatisticFacts(name, function, needs, unit, bounds, source))
        return function

    return register
