"""Sums and maxima over a subset of the data, which can be merged with those of other subsets.

Mean over sequences with its interval, from mergeable sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from scipy import stats
from torch import Tensor


@dataclass(frozen=True)
class Sums:
    """Named sums and maxima, in shapes that do not depend on the amount of data.

    Attributes:
        added: Name to a sum.
        maxima: Name to a maximum.
    """

    added: Mapping[str, Tensor] = field(default_factory=dict)
    maxima: Mapping[str, Tensor] = field(default_factory=dict)

    def merged(self, other: Sums) -> Sums:
        """Return the sums and maxima over the data of this object and ``other`` together."""
        return Sums(
            {name: value + other.added[name] for name, value in self.added.items()},
            {name: torch.maximum(value, other.maxima[name]) for name, value in self.maxima.items()},
        )

    def within(self, prefix: str) -> Sums:
        """Return the sums whose names begin with ``prefix``, with the prefix removed."""
        return Sums(
            *(
                {name.removeprefix(prefix): value for name, value in part.items() if name.startswith(prefix)}
                for part in (self.added, self.maxima)
            )
        )

    def packed(self, rank: int, ranks: int) -> Tensor:
        """Return one float64 vector to be summed over all ranks; ``unpacked`` turns the total into sums and maxima.

        A maximum has a place of its own for each rank, 0 in the vectors of others: adding then moves numbers and
        changes none, so that one all-reduce by sum carries both.

        Args:
            rank: This shard's number, from 0.
            ranks: Number of shards.

        Returns:
            ``(number,)`` float64.
        """
        parts = [self.added[name].flatten().double() for name in sorted(self.added)]
        largest = [self.maxima[name].flatten().double() for name in sorted(self.maxima)]
        places = torch.zeros(ranks, sum(len(part) for part in largest), dtype=torch.float64)
        if largest:
            places[rank] = torch.cat(largest).cpu()
        return torch.cat([*(part.cpu() for part in parts), places.flatten()])

    def unpacked(self, total: Tensor, ranks: int) -> Sums:
        """Convert a summed vector back to ``Sums``, with the names and shapes of this object.

        Args:
            total: Sum of ``packed`` over all ranks.
            ranks: Number of shards.
        """
        names = sorted(self.added)
        cut = total.split([self.added[name].numel() for name in names] + [len(total) - self._added_numbers()])
        added = {name: part.view(self.added[name].shape) for name, part in zip(names, cut[:-1], strict=True)}
        names = sorted(self.maxima)
        sizes: Sequence[int] = [self.maxima[name].numel() for name in names]
        largest = cut[-1].view(ranks, -1).amax(0).split(sizes) if names else ()
        return Sums(added, {n: part.view(self.maxima[n].shape) for n, part in zip(names, largest, strict=True)})

    def _added_numbers(self) -> int:
        return sum(value.numel() for value in self.added.values())


def gathered(parts: Mapping[str, Sums]) -> Sums:
    """Combine several ``Sums`` into one, each name prefixed by its key."""
    return Sums(
        {f"{subject}{name}": value for subject, part in parts.items() for name, value in part.added.items()},
        {f"{subject}{name}": value for subject, part in parts.items() for name, value in part.maxima.items()},
    )


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
    """Return count, sum and sum of squares over sequences, ``(head,)`` each.

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
