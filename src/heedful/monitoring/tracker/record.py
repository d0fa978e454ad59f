"""Convert merged sums to table rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from heedful.monitoring.tracker.labels import head_label
from heedful.monitoring.tracker.layer import ATTENTION, Layer
from heedful.monitoring.tracker.part import TRACKER_PARTS
from heedful.monitoring.vectors.sequence_mean import sequence_mean
from heedful.monitoring.vectors.sums import Sums
from heedful.monitoring.vectors.vector_statistics import vector_statistics

Row = dict[str, Any]

WITH_INTERVAL = ("entropy_share", "concentration", "sink_mass", "logit_sd")
"""Statistics of rows whose interval over sequences is kept."""


def layer_rows(layer: Layer, sums: Sums) -> list[Row]:
    """Return one row per head: query and key statistics at each stage, attention, and columns from plugins.

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
    named = _attention_rows(sums.within("attention/").added) + added
    if layer.irreps:
        named = [{**row, "irrep": layer.irreps[row["head"]]} for row in named]
    return rows + named


def _attention_rows(sums: Mapping[str, Any]) -> list[Row]:
    columns: dict[str, Any] = {"sequences": sums["entropy_share_sequences"]}
    for name in ATTENTION:
        interval = sequence_mean(sums, name)
        columns |= interval.named(name) if name in WITH_INTERVAL else {name: interval.mean}
    return [
        {"part": "attention", "head": head, "label": head_label(values), **values}
        for head, values in enumerate(_by_head(columns))
    ]


def _by_head(columns: Mapping[str, Any]) -> list[dict[str, float]]:
    lists = {name: value.tolist() for name, value in columns.items()}
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def by_head(rows: list[Row], name: str) -> dict[str, float]:
    """Return the attention statistic ``name`` as a dict by head name (``L0H3``), without NaN."""
    return {
        f"L{row['layer']}H{row['head']}": row[name]
        for row in rows
        if row["part"] == "attention" and not math.isnan(row[name])
    }
