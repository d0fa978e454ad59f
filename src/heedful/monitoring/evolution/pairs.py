"""Correlate the entropy of heads with the norm of their keys and the spread of their logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars

from heedful.monitoring.evolution.correlation import Correlation, correlation, spearman
from heedful.monitoring.evolution.rows import KeyRows

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
