"""Chart of every head's entropy by layer, with the entropy of uniform attention as the upper bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from heedful.evaluation.page.figures.layers import layers_of
from heedful.reporting.figure import BLUE, HEIGHT, WIDTH, Figure, chart_of, layer_axis

if TYPE_CHECKING:
    import altair

    from heedful.evaluation.result import Report


def entropy_by_layer(report: Report) -> altair.TopLevelMixin | None:
    """Draw heads as points, layer means as a line, and the entropy of uniform attention as a dashed line; return None
    if no head has an entropy.
    """
    import altair

    heads = [
        {"layer": row.layer, "entropy": entropy, "ceiling": entropy + row.statistics.get("concentration", math.nan)}
        for row in report.heads
        if math.isfinite(entropy := row.statistics.get("row_entropy", math.nan))
    ]
    if not heads:
        return None
    known = [head for head in heads if math.isfinite(head["ceiling"])]
    ceiling = [
        {"layer": layer, "ceiling": max(head["ceiling"] for head in known if head["layer"] == layer)}
        for layer in sorted({head["layer"] for head in known})
    ]
    x = layer_axis(layers_of(report))
    points = chart_of(heads).mark_circle(size=28, opacity=0.7, color=BLUE)
    mean = chart_of(heads).mark_line(color=BLUE, strokeWidth=2)
    above = chart_of(ceiling).mark_line(color="ink", strokeDash=[5, 4], strokeWidth=1.5, point=len(ceiling) == 1)
    shown = chart_of(ceiling[-1:]).mark_text(align="right", dy=-9, text="ceiling: equal weights", color="ink")
    y = altair.Y("entropy:Q", title="entropy (nat)", scale=altair.Scale(zero=True))
    return altair.layer(
        above.encode(x=x, y=altair.Y("ceiling:Q")),
        shown.encode(x=x, y=altair.Y("ceiling:Q")),
        points.encode(x=x, y=y),
        mean.encode(x=x, y=altair.Y("mean(entropy):Q")),
    ).properties(width=WIDTH, height=HEIGHT)


ENTROPY_BY_LAYER = Figure(
    name="entropy_by_layer",
    title="Entropy over layers",
    caption="A point is a head, the line its layer's mean. The dashed ceiling is the entropy of equal weights over the "
    "visible keys; the further below it, the more a head chooses.",
    chart=entropy_by_layer,
)
