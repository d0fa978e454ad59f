"""Mean over sequences with its interval, from mergeable sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

LEVEL = 0.95


@dataclass(frozen=True)
class MeanInterval:
    """A mean and its interval bounds, ``(head,)`` each."""

    mean: Tensor
    low: Tensor
    high: Tensor

    def named(self, name: str) -> dict[str, Tensor]:
        """Return mean, lower and upper bound as columns ``name``, ``name_low`` and ``name_high``."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


def sequence_sums(name: str, values: Tensor) -> dict[str, Tensor]:
    """Return the count, sum and sum of squares over sequences, ``(head,)`` each.

    Args:
        name: What the values are.
        values: ``(batch, head)``; NaN where a sequence has none, which is left out.
    """
    known = ~values.isnan()
    held = torch.where(known, values, 0.0).double()
    return {
        f"{name}_sequences": known.sum(0).double(),
        f"{name}_sum": held.sum(0),
        f"{name}_square": held.square().sum(0),
    }


def sequence_mean(sums: Mapping[str, Tensor], name: str) -> MeanInterval:
    """Return the mean over sequences with a 95 % Student t interval; the unit is the sequence, never the row.

    Args:
        sums: Those of ``sequence_sums``.
        name: What was summed.

    Returns:
        The mean, NaN without sequences; bounds, NaN with fewer than two.
    """
    number, total = (sums[f"{name}_{part}"].double() for part in ("sequences", "sum"))
    mean = total / number
    spread = ((sums[f"{name}_square"] - number * mean * mean).clamp_min(0) / (number - 1)).sqrt()
    quantile = torch.tensor([_quantile(count) for count in number.tolist()], dtype=torch.float64)
    half = torch.where(number > 1, quantile.to(mean.device) * spread / number.sqrt(), math.nan)
    return MeanInterval(mean, mean - half, mean + half)


def _quantile(number: float) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, number - 1)) if number > 1 else math.nan
