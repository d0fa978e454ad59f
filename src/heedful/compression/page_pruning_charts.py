"""Charts for the page on removing attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heedful.reporting.drawing import Drawn
from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, WIDTH, Figure, chart_of

if TYPE_CHECKING:
    import altair

    from heedful.compression.record import Curve

GREEN, GREY = "#3c8f5a", "#8a8f98"
COLOURS = (ORANGE, BLUE, GREEN)
DASHES = ([1, 0], [6, 3], [2, 2])
RANDOM = "random"


def curve_chart(part: str, curves: Sequence[Curve]) -> Drawn:
    """Draw loss increase over fraction removed, with intervals, one line per ranking, random order in grey.

    Args:
        part: What is left out.
        curves: Its curves, with losses.
    """
    import altair

    rows: list[dict[str, Any]] = []
    for curve in curves:
        for point in curve.points:
            loss = point.loss
            if loss is not None and math.isfinite(loss.estimate):
                known = math.isfinite(loss.low) and math.isfinite(loss.high)
                bounds = {"low": loss.low, "high": loss.high} if known else {}
                rows.append({"name": curve.ranking, "share": point.fraction, "value": loss.estimate, **bounds})
    others = [curve.ranking for curve in curves if curve.ranking != RANDOM]
    names = [*others, RANDOM]
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(others))]
    colour = altair.Color(
        "name:N", sort=names, scale=altair.Scale(domain=names, range=[*colours, GREY]), legend=_legend()
    )
    dashes = [DASHES[place % len(DASHES)] for place in range(len(others))]
    dash = altair.StrokeDash(
        "name:N", sort=names, scale=altair.Scale(domain=names, range=[*dashes, [1, 3]]), legend=_legend()
    )
    x = altair.X("share:Q", title=f"share of the {part} left out", axis=altair.Axis(format="%", grid=False))
    y = altair.Y("value:Q", title="rise of the loss, nat/token")
    base = chart_of(rows)
    made = altair.layer(
        base.mark_area(opacity=0.13).encode(x=x, y=altair.Y("low:Q", title=""), y2="high:Q", color=colour),
        base.mark_line(point=True, strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash),
    ).properties(width=WIDTH, height=HEIGHT)
    figure = Figure[object](name=f"pruning_{part}", title=f"Leaving out {part}", caption="", chart=lambda _: made)
    return Drawn(figure, made)


def _legend() -> altair.Legend:
    import altair

    return altair.Legend(title=None, orient="top", symbolOpacity=1)
