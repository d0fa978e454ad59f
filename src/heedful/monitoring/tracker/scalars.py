"""Convert a recorded step to scalars, named as the curves that loggers show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

PREFIX = "attention/"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


SCALARS: dict[str, tuple[str, str, Callable[[Sequence[float]], float]]] = {
    "max_logit": ("attention", "max_logit", max),
    "entropy_mean": ("attention", "row_entropy", _mean),
    "entropy_min": ("attention", "entropy_min", min),
    "concentration": ("attention", "concentration", _mean),
    "sink_mass_max": ("attention", "sink_mass", max),
    "strongest_mass_max": ("attention", "strongest_mass", max),
    "sink_head_share": ("attention", "is_sink", _mean),
    "query_norm": ("query", "norm_mean", _mean),
    "key_norm": ("key", "norm_mean", _mean),
    "key_largest": ("key", "global_max", max),
    "key_effective_rank_min": ("key", "effective_rank", min),
    "query_update": ("layer", "query_update", max),
    "key_update": ("layer", "key_update", max),
    "value_update": ("layer", "value_update", max),
    "output_update": ("layer", "output_update", max),
}
"""Name of a curve to the part and column that it is of, and how heads are brought together, of one layer and of all."""


def scalars(step: int, rows: Sequence[Row]) -> dict[str, float]:
    """Convert a recorded step to scalars by curve name, such as ``attention/max_logit`` or
    ``attention/layer_07/entropy_min``.

    Reading: the curve without a layer is the maximum, minimum or mean over all heads of all layers, as its name says;
    ``entropy_min`` is the least row. ``attention/step`` is the step of the record, which may be logged later, and
    ``attention/alarms`` how many alarms it raised.

    Args:
        step: Number of the step.
        rows: Its rows of the table.

    Returns:
        Finite numbers only: what is undefined has no entry.
    """
    found: dict[str, float] = {f"{PREFIX}step": float(step)}
    found[f"{PREFIX}alarms"] = float(sum(1 for row in rows if row.get("alarm")))
    layers = sorted({row["layer"] for row in rows if row.get("layer") is not None})
    for name, (part, column, together) in SCALARS.items():
        by_layer = {layer: _values(rows, layer, part, column) for layer in layers}
        whole = [value for values in by_layer.values() for value in values]
        if whole:
            found[f"{PREFIX}{name}"] = together(whole)
        for layer, values in by_layer.items():
            if values:
                found[f"{PREFIX}layer_{layer:02d}/{name}"] = together(values)
    return found


def _values(rows: Sequence[Row], layer: int, part: str, column: str) -> list[float]:
    own = (row.get(column) for row in rows if row.get("layer") == layer and row["part"] == part and _counts(row))
    return [value for value in own if value is not None and math.isfinite(value)]


def _counts(row: Row) -> bool:
    return row.get("stage") in (None, "after")
