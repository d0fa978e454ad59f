"""Heat map of concentration, layers by heads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from heedful.reporting.figure import SEQUENTIAL, WIDTH, Figure, chart_of

if TYPE_CHECKING:
    import altair

    from heedful.evaluation.result import Report


def concentration_map(report: Report) -> altair.TopLevelMixin | None:
    """Draw a heat map of layers by heads; its colour is the distance from uniform attention in nats. None without heads
    to draw.
    """
    import altair

    rows = [
        {"layer": row.layer, "head": row.head, "nats": value}
        for row in report.heads
        if math.isfinite(value := row.statistics.get("concentration", math.nan))
    ]
    if not rows:
        return None
    heads, layers = (len({row[name] for row in rows}) for name in ("head", "layer"))
    step = max(8, min(36, 320 // layers))
    overlap = altair.Axis(labelOverlap=True, labelAngle=0)
    scale = altair.Scale(range=list(SEQUENTIAL), domainMin=0)
    return (
        chart_of(rows)
        .mark_rect()
        .encode(
            x=altair.X("head:O", title="head", axis=overlap),
            y=altair.Y("layer:O", title="layer", axis=overlap),
            color=altair.Color("nats:Q", scale=scale, legend=altair.Legend(title="nats from uniform")),
        )
        .properties(width=min(WIDTH - 60, 40 * heads), height=step * layers)
    )


CONCENTRATION_MAP = Figure(
    name="concentration_map",
    title="Layers and heads",
    caption="Distance of each head from uniform attention, mean over rows and documents; the darker, the more "
    "concentrated.",
    chart=concentration_map,
)
