"""Settings of a pruning measurement: what to remove, and how many random orders to try."""

from __future__ import annotations

from dataclasses import dataclass

from heedful.errors import UsageError

PARTS = ("layers", "heads", "dimensions")
FRACTIONS = (0.1, 0.25, 0.5, 0.75)
ORDERS = 19
"""Random orders by default: the fewest among which an order can stand out at 5 %."""
EACH_ALONE = 64
"""Units of a part up to which each is removed alone."""


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Fractions and parts to remove, and the number of random orders.

    Attributes:
        parts: Names of ``PARTS``.
        fractions: Shares of the units of a part.
        orders: Random orders.
        each_alone: Units of a part up to which each is removed alone, one run of the model each.

    Raises:
        UsageError: A name or a number is out of range.
    """

    parts: tuple[str, ...] = PARTS
    fractions: tuple[float, ...] = FRACTIONS
    orders: int = ORDERS
    each_alone: int = EACH_ALONE

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise UsageError(f"part: expected some of {', '.join(PARTS)}; got {', '.join(map(str, unknown)) or 'none'}")
        for name, values in (
            ("fraction", self.fractions),
            ("orders", (self.orders,)),
            ("each_alone", (self.each_alone,)),
        ):
            wrong = [value for value in values if isinstance(value, bool) or not isinstance(value, int | float)]
            if wrong:
                raise UsageError(f"{name}: expected a number, got {wrong[0]!r:.60}")
        beyond = [fraction for fraction in self.fractions if not 0 < fraction < 1]
        if beyond or not self.fractions:
            raise UsageError(f"fraction: expected numbers between 0 and 1, got {beyond or 'none'}")
        if self.orders < 2:
            raise UsageError(f"orders: expected at least 2 random orders, got {self.orders}")
        if self.each_alone < 0:
            raise UsageError(f"each_alone: expected 0 or more, got {self.each_alone}")
