"""Altair chart of one head's attention weights in at most 256 x 256 cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.reporting.escape import visible

if TYPE_CHECKING:
    import altair

SIDE = 320
"""Pixels of the longer side of the picture."""


def pattern_chart(
    weights: Sequence[Sequence[float]],
    query_edges: Sequence[int],
    key_edges: Sequence[int],
    *,
    title: str,
) -> altair.Chart:
    """Draw mean weights by query and key bins; cells without visible keys are blank.

    Args:
        weights: Mean weight of the visible pairs of each cell, row by row; NaN where a cell has none.
        query_edges: First query of each row of cells, and the end.
        key_edges: First key of each column of cells, and the end.
        title: What the picture is of.

    Returns:
        The chart: it displays itself in a notebook, and ``chart.save("head.svg")`` (png, html, json) writes it.
    """
    import altair

    cells = [
        {"q": query_edges[r], "r": query_edges[r + 1], "k": key_edges[c], "c": key_edges[c + 1], "w": float(f"{w:.4g}")}
        for r, row in enumerate(weights)
        for c, w in enumerate(row)
        if w == w
    ]
    last_query, last_key = query_edges[-1], key_edges[-1]
    scale = SIDE / max(last_query, last_key)
    width, height = (max(24, round(length * scale)) for length in (last_key, last_query))
    return (
        altair.Chart(altair.InlineData(values=cells), title=visible(title), width=width, height=height)
        .mark_rect(stroke=None)
        .encode(
            x=altair.X("k:Q", title="key", scale=altair.Scale(domain=[0, last_key], nice=False)),
            x2="c",
            y=altair.Y("q:Q", title="query", scale=altair.Scale(domain=[last_query, 0], nice=False)),
            y2="r",
            color=altair.Color("w:Q", title="weight", scale=altair.Scale(scheme="viridis", domainMin=0)),
            tooltip=[
                altair.Tooltip(f"{name}:Q", title=message)
                for name, message in (("q", "query"), ("k", "key"), ("w", "weight"))
            ],
        )
    )
