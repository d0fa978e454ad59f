"""Create rows of the tidy table on which all claims on counts are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]

COLUMNS = ("part", "arm", "std", "layer", "head", "measure", "value")
"""Columns beside ``unit``: where and how it was measured, under which name, and what came out."""


def rows_of(
    part: str,
    measures: Mapping[str, float],
    *,
    arm: str = "",
    std: float | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> list[Row]:
    """Return one table row for each measure.

    Args:
        part: Which measurement.
        measures: Name to value.
        arm: Variant.
        std: Standard deviation that matrices were brought to.
        layer: Layer index.
        head: Head index.
    """
    where = {"part": part, "arm": arm, "std": std, "layer": layer, "head": head}
    return [where | {"measure": name, "value": float(value)} for name, value in measures.items()]
