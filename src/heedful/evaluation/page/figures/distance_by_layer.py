"""Heat map of attention mass by distance in each layer, relative to uniform attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from heedful.reporting.escape import visible
from heedful.reporting.figure import DIVERGING, WIDTH, Figure, Row, chart_of

if TYPE_CHECKING:
    import altair

    from heedful.evaluation.result import Report

MOST = 3.0
"""Doublings at which the colour no longer changes."""


def distance_by_layer(report: Report) -> altair.TopLevelMixin | None:
    """Draw layers by distance bins, coloured by log2(mass / uniform mass); None if the report has no cards."""
    import altair

    cards = report.cards
    rows = _rows(report)
    if cards is None or not rows:
        return None
    names = [visible(name) for name in cards.distances]
    layers = sorted({row["layer"] for row in rows})
    step = max(9, min(36, 300 // len(layers)))
    scale = altair.Scale(
        domain=[-MOST, -MOST / 2, 0, MOST / 2, MOST], range=list(DIVERGING), clamp=True, interpolate="rgb"
    )
    words = "datum.value == 0 ? 'equal' : (datum.value < 0 ? '1/' : '') + pow(2, abs(datum.value)) + 'x'"
    legend = altair.Legend(title="over equal weights", labelExpr=words, values=[-3, -2, -1, 0, 1, 2, 3])
    axis = altair.Axis(labelAngle=0)
    return (
        chart_of(rows)
        .mark_rect()
        .encode(
            x=altair.X("distance:N", sort=names, title="distance from query to key (tokens)", axis=axis),
            y=altair.Y("layer:O", title="layer", axis=altair.Axis(labelOverlap=True)),
            color=altair.Color("doublings:Q", scale=scale, legend=legend),
        )
        .properties(width=WIDTH - 70, height=step * len(layers))
    )


def _rows(report: Report) -> list[Row]:
    cards = report.cards
    sums: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for card in cards.heads if cards is not None else ():
        for place, (point, uniform) in enumerate(zip(card.distance, card.uniform, strict=False)):
            if math.isfinite(point[0]) and math.isfinite(uniform) and uniform > 0:
                sums.setdefault((card.layer, place), []).append((point[0], uniform))
    names = cards.distances if cards is not None else ()
    found: list[Row] = []
    for (layer, place), pairs in sums.items():
        ratio = sum(mass for mass, _ in pairs) / sum(uniform for _, uniform in pairs)
        if place < len(names):
            doublings = math.log2(max(ratio, 2 ** -(2 * MOST)))
            found.append({"layer": layer, "distance": visible(names[place]), "doublings": doublings})
    return found


DISTANCE_BY_LAYER = Figure(
    name="distance_by_layer",
    title="Reach of each layer",
    caption="Mean weight of a layer's heads at each distance, over what equal weights would place there. Orange is "
    "preferred, blue avoided.",
    chart=distance_by_layer,
)
