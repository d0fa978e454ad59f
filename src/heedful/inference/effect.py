"""A mean over documents with its 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A mean over documents with its 95 % interval.

    Attributes:
        estimate: The mean; NaN where undefined.
        low: Lower bound; NaN where there is none.
        high: Upper bound; NaN where there is none.
        n: Documents behind it.
    """

    estimate: float
    low: float
    high: float
    n: int
