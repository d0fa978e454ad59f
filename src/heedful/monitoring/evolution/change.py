"""How a statistic of key heads changed from the first to the last step, by layer group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars

from heedful.inference.interval import Interval
from heedful.inference.mean_interval import mean_interval
from heedful.monitoring.evolution.rows import KeyRows
from heedful.reporting.quantity import count, interval, number


@dataclass(frozen=True)
class Change:
    """Change of one statistic in one layer group, with its interval.

    Attributes:
        group: Name of the group.
        first: Mean over its heads at the first step.
        last: Mean over its heads at the last step.
        difference: Mean change of a head with its 95 % interval over heads.
    """

    group: str
    first: float
    last: float
    difference: Interval

    @property
    def message(self) -> str:
        """The change as a sentence: both means, the difference, its interval and what the interval covers."""
        low, high = float(self.difference.low), float(self.difference.high)
        bounds = f", {interval((low, high))} over {self.difference.units} heads" if low == low else ""
        difference = float(self.difference.estimate)
        sign = "+" if difference > 0 else ""
        return f"{self.group} {number(self.first)} -> {number(self.last)} ({sign}{number(difference)}{bounds})"

    @property
    def direction(self) -> str:
        """``rose``, ``fell``, or ``did not clearly move`` if the interval contains 0 or is missing."""
        low, high = self.difference.low, self.difference.high
        if low != low:
            return "has a single head and so no interval"
        return "rose" if low > 0 else "fell" if high < 0 else "did not clearly move"


def changes(rows: KeyRows, name: str) -> list[Change]:
    """Return the change of a statistic in each layer group.

    Args:
        rows: Those of the run.
        name: Column of the table.
    """
    found = []
    for group in rows.groups:
        ends = [_of(rows.keys, group, step, name) for step in (rows.steps[0], rows.steps[-1])]
        paired = ends[0].join(ends[1], on=("layer", "head"), suffix="_last").drop_nulls()
        if paired.is_empty():
            continue
        first, last = (paired[column].cast(polars.Float64).to_numpy() for column in (name, f"{name}_last"))
        over = mean_interval(last - first, runs=True)
        found.append(Change(group, float(first.mean()), float(last.mean()), over))
    return found


def message(rows: KeyRows, name: str) -> str:
    """Describe how a statistic changed in each layer group; with a single step, give its value.

    Args:
        rows: Those of the run.
        name: Column of the table.

    Returns:
        The words; empty where no head has the statistic.
    """
    if not rows.single:
        return "; ".join(one.message for one in changes(rows, name))
    said = []
    for group in rows.groups:
        values = _of(rows.keys, group, rows.steps[0], name)[name].drop_nulls().cast(polars.Float64).to_numpy()
        if len(values):
            span = f", {number(float(values.min()))} to {number(float(values.max()))}" if len(values) > 1 else ""
            said.append(f"{group} {number(float(values.mean()))} ({count(len(values), 'key head')}{span})")
    return "; ".join(said)


def directions(found: list[Change]) -> str:
    """List the layer groups by direction of change, as text."""
    said = {one.direction: [other.group for other in found if other.direction == one.direction] for one in found}
    return "; ".join(f"{_listed(groups)} {direction}" for direction, groups in said.items())


def over_steps(frame: polars.DataFrame, name: str, panel: str) -> list[dict[str, Any]]:
    """Return chart rows with the mean, minimum and maximum of statistic ``name`` over heads, for each layer group and
    step.
    """
    value = polars.col(name).cast(polars.Float64)
    table = (
        frame.filter(polars.col(name).is_finite())
        .group_by("group", "step")
        .agg(
            value.mean().alias("value"), value.min().alias("low"), value.max().alias("high"), polars.col("layer").min()
        )
        .sort("layer", "step")
    )
    return [{"panel": panel, **row} for row in table.drop("layer").to_dicts()]


def _of(frame: polars.DataFrame, group: str, step: int, name: str) -> polars.DataFrame:
    return frame.filter((polars.col("group") == group) & (polars.col("step") == step)).select("layer", "head", name)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
