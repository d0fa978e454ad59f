"""The figure of scale effects: focus and agreement over the scale of the matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heedful.report.figures.drawing import Drawn
from heedful.report.figures.figure import BLUE, HEIGHT, ORANGE, WIDTH, Figure, chart_of

if TYPE_CHECKING:
    from heedful.core.effect import Effect
    from heedful.core.explanation import Explanation

SERIES = ("entropy over its maximum", "KL over that of equal weights")


def scale_chart(record: Explanation) -> Drawn:
    """Entropy and divergence of the first layer over the scale, with intervals; 1 is uniform attention in both."""
    import altair

    rows: list[dict[str, Any]] = []
    for scale in record.scales:
        first = scale.layers[0]
        rows.append(_row(SERIES[0], scale.std, first.share, 1.0))
        rows.append(_row(SERIES[1], scale.std, first.divergence, first.uniform.estimate))
    base = chart_of(rows)
    x = altair.X("std:Q", scale=altair.Scale(type="log"), title="standard deviation of the matrices")
    scale_y = altair.Scale(type="symlog", constant=1, domainMin=0)
    y = altair.Y("value:Q", scale=scale_y, title="1 = uniform attention")
    colour = altair.Color(
        "series:N",
        sort=list(SERIES),
        scale=altair.Scale(domain=list(SERIES), range=[BLUE, ORANGE]),
        legend=altair.Legend(title=None, orient="top", labelLimit=300),
    )
    made = altair.layer(
        chart_of([{"at": 1.0}])
        .mark_rule(color="ink", opacity=0.4, strokeDash=[3, 3])
        .encode(y=altair.Y("at:Q", scale=scale_y)),
        base.mark_rule(strokeWidth=1.5).encode(x=x, y=altair.Y("low:Q", scale=scale_y), y2="high:Q", color=colour),
        base.mark_line(point=True, strokeWidth=2).encode(x=x, y=y, color=colour),
    ).properties(width=WIDTH, height=HEIGHT)
    title = "Focus and agreement over scale"
    return Drawn(Figure(name="scale_effects", title=title, caption="", chart=lambda _: made), made)


def _row(series: str, std: float | None, effect: Effect, size: float) -> dict[str, Any]:
    return {
        "series": series,
        "std": std,
        "value": effect.estimate / size,
        "low": effect.low / size,
        "high": effect.high / size,
    }
