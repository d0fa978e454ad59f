"""Convert merged sums to table rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from heedful.monitoring.tracker.labels import SINK, head_label
from heedful.monitoring.tracker.layer import ATTENTION, BRIEF, EXTREMES, Layer
from heedful.monitoring.tracker.part import TRACKER_PARTS
from heedful.monitoring.vectors.sequence_mean import sequence_mean
from heedful.monitoring.vectors.sums import Sums
from heedful.monitoring.vectors.vector_statistics import vector_statistics

Row = dict[str, Any]

WITH_INTERVAL = ("entropy_share", "concentration", "sink_mass", "logit_sd")
"""Statistics of rows whose interval over sequences is kept."""


def layer_rows(layer: Layer, sums: Sums) -> list[Row]:
    """Rows of one layer: its heads' queries and keys at each stage, attention, additions of features; its sinks.

    Args:
        layer: The layer.
        sums: Those of ``layer_sums``, merged over processes.
    """
    rows = []
    for part in ("query", "key"):
        for stage in ("before", "after"):
            found = sums.within(f"{part}/{stage}/")
            if found.added:
                rows += [
                    {"part": part, "stage": stage, "head": head, **values}
                    for head, values in enumerate(_by_head(vector_statistics(found)))
                ]
    added = [
        {"part": name, "head": head, **row}
        for name, part in TRACKER_PARTS.items()
        for head, row in enumerate(part.rows(sums.within(f"{name}/")))
    ]
    attention = _attention_rows(sums.within("attention/"))
    named = attention + added
    if layer.irreps:
        named = [{**row, "irrep": layer.irreps[row["head"]]} for row in named]
    return [*rows, *named, {"part": "layer", "head": None, "sink_head_share": _sink_head_share(attention)}]


def _attention_rows(sums: Sums) -> list[Row]:
    """Rows of the heads; those of a brief record have fewer columns and no label."""
    added = sums.added
    brief = "concentration_sum" not in added
    columns: dict[str, Any] = {"sequences": added["entropy_share_sequences"]}
    for name in BRIEF if brief else ATTENTION:
        interval = sequence_mean(added, name)
        columns |= interval.named(name) if name in WITH_INTERVAL and not brief else {name: interval.mean}
    for name, sign in EXTREMES.items():
        most = sums.maxima[name]
        columns[name] = torch.where(most.isinf() & (most < 0), math.nan, most) * sign
    found: list[Row] = [
        {"part": "attention", "head": head, **({} if brief else {"label": head_label(values)}), **values}
        for head, values in enumerate(_by_head(columns))
    ]
    return [
        row | {"is_sink": math.nan if math.isnan(row["sink_mass"]) else float(row["sink_mass"] > SINK)} for row in found
    ]


def _sink_head_share(attention: list[Row]) -> float:
    """Share of a layer's heads whose mean weight on the first key is above .3; NaN where none is known."""
    known = [row["is_sink"] for row in attention if not math.isnan(row["is_sink"])]
    return sum(known) / len(known) if known else math.nan


def _by_head(columns: Mapping[str, Any]) -> list[dict[str, float]]:
    lists = {name: value.tolist() for name, value in columns.items()}
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def by_head(
    rows: list[Row], name: str, part: str = "attention", stage: str | None = None
) -> dict[tuple[int, int | None], float]:
    """A statistic by (layer, head), without NaN.

    Args:
        rows: Those of a step.
        name: Column.
        part: Of which rows.
        stage: Of which stage, for queries and keys.
    """
    return {
        (row["layer"], row["head"]): row[name]
        for row in rows
        if row["part"] == part and row.get("stage") == stage and not math.isnan(row.get(name, math.nan))
    }
