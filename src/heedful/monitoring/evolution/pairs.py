"""Correlate the entropy of heads with the norm of their keys and the spread of their logits.

Rank correlation over the heads of a run, with a bootstrap over layers or heads.

How a statistic of key heads changed from the first to the last step, by layer group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from heedful.inference.interval import Interval
from heedful.inference.mean_interval import mean_interval
from heedful.monitoring.evolution.rows import KeyRows
from heedful.reporting.quantity import count, interval, number

FEWEST_STEPS = 5
NORM, SPREAD = "mean key norm", "spread of a query's logits (sd)"


@dataclass(frozen=True)
class EntropyPairs:
    """Correlations of normalised entropy with key norm and with logit spread.

    Attributes:
        drawn: Rows of the scatter at the last step: panel, group, value, entropy.
        norm: With the key norm over key heads at the last step; entropy is the mean over the queries of a key head.
        spread: With the standard deviation of logits over query heads at the last step.
        norm_in_time: Correlation over steps of each key head.
        spread_in_time: Correlation over steps of each query head.
        steps: Steps behind those.
    """

    drawn: list[dict[str, Any]]
    norm: Correlation
    spread: Correlation
    norm_in_time: list[float]
    spread_in_time: list[float]
    steps: int


def entropy_pairs(rows: KeyRows) -> EntropyPairs:
    """Correlate normalised entropy with key norm and with logit spread.

    Query heads that share keys share their norm: they count once there, as their mean.

    Args:
        rows: Those of the run.
    """
    queries = rows.attention.select("step", "layer", "head", "group", "entropy_share", "logit_sd").rename(
        {"entropy_share": "entropy"}
    )
    by_key = _by_key_head(rows, queries)
    last = polars.col("step") == rows.steps[-1]
    drawn = []
    found = {}
    for panel, frame, name in ((NORM, by_key, "norm_mean"), (SPREAD, queries, "logit_sd")):
        table = frame.filter(last & polars.col(name).is_finite()).sort("layer", "head")
        found[panel] = correlation(table[name].to_numpy(), table["entropy"].to_numpy(), table["layer"].to_numpy())
        drawn += [{"panel": panel, **row} for row in table.select("group", "entropy", value=name).to_dicts()]
    return EntropyPairs(
        drawn=drawn,
        norm=found[NORM],
        spread=found[SPREAD],
        norm_in_time=_in_time(by_key, "norm_mean"),
        spread_in_time=_in_time(queries, "logit_sd"),
        steps=len(rows.steps),
    )


def _by_key_head(rows: KeyRows, queries: polars.DataFrame) -> polars.DataFrame:
    """A row a step and key head: its norm, and the mean entropy of the query heads that use it."""
    place = ("step", "layer")
    numbers = rows.keys.group_by(place).agg(polars.col("head").n_unique().alias("key_heads"))
    heads = queries.group_by(place).agg(polars.col("head").n_unique().alias("heads"))
    sharing = (polars.col("heads") // polars.col("key_heads")).clip(1)
    shared = queries.join(numbers, on=place).join(heads, on=place)
    key_head = (polars.col("head") // sharing).cast(polars.Int32).alias("head")
    entropy = shared.with_columns(key_head).group_by(*place, "head", "group").agg(polars.col("entropy").mean())
    return entropy.join(rows.keys.select(*place, "head", "norm_mean"), on=(*place, "head"))


def _in_time(frame: polars.DataFrame, name: str) -> list[float]:
    found = []
    for _, head in frame.sort("step").group_by("layer", "head", maintain_order=True):
        known = head.filter(polars.col(name).is_finite())
        if known.height >= FEWEST_STEPS:
            found.append(spearman(known[name].cast(float).to_numpy(), known["entropy"].cast(float).to_numpy()))
    return [value for value in found if np.isfinite(value)]


SMALLEST = 8
"""Layers, or heads, below which no interval is given."""
RESAMPLES = 1999

Measure = Callable[[NDArray[np.float64], NDArray[np.float64]], float]


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its bootstrap interval.

    Attributes:
        estimate: Spearman's or what was asked for, NaN where a side is constant.
        low: Lower bound, 95 %; NaN where there is no interval.
        high: Upper bound.
        n: Items.
        units: What was resampled, ``layers`` or ``heads``; empty without an interval.
    """

    estimate: float
    low: float
    high: float
    n: int
    units: str


def correlation(
    x: ArrayLike, y: ArrayLike, layers: ArrayLike, *, seed: int = 0, measure: Measure | None = None
) -> Correlation:
    """Return Spearman's correlation, or another measure, with a bootstrap percentile interval.

    ``spearman_over_units`` resamples documents with the heads as they are; a table keeps no value of a document, so
    here the heads are resampled: whole layers where there are 8, since heads of a layer share a gain and an input,
    else single heads.

    Pitfall: the interval is about other heads of such a model, not about other seeds or texts; over single heads it is
    too narrow where heads of a layer are alike. Source: Efron and Tibshirani 1993, chapter 13.

    Args:
        x: First property, ``(item,)``.
        y: Second property of the same items.
        layers: Layer of each item.
        seed: Seed of the resamples.
        measure: What is measured of both; None for ``spearman``.
    """
    measured = measure or spearman
    first, second, layer = np.asarray(x, float), np.asarray(y, float), np.asarray(layers)
    known = np.isfinite(first) & np.isfinite(second)
    first, second, layer = first[known], second[known], layer[known]
    n, estimate = len(first), measured(first, second)
    parts = [np.flatnonzero(layer == one) for one in np.unique(layer)]
    units = "layers" if len(parts) >= SMALLEST else "heads"
    if units == "heads":
        parts = [np.array([item]) for item in range(n)]
    if len(parts) < SMALLEST or not np.isfinite(estimate):
        return Correlation(estimate, np.nan, np.nan, n, "")
    draws = np.random.default_rng(seed).integers(len(parts), size=(RESAMPLES, len(parts)))
    found = []
    for draw in draws:
        items = np.concatenate([parts[part] for part in draw])
        found.append(measured(first[items], second[items]))
    low, high = np.nanquantile(found, (0.025, 0.975))
    return Correlation(estimate, float(low), float(high), n, units)


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; NaN with fewer than three items or a constant argument."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the Pearson correlation; NaN with fewer than three items or a constant argument."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


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
        """The change in a sentence: both means, the difference and its interval."""
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
    """Return chart rows for each layer group and step: mean, least and largest value of the statistic ``name`` over
    heads.
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
