"""Plot each head's concentration by layer, with the range of untrained heads and the margins of the verdicts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from heedful.evaluation.page.figures.layers import layers_of
from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, WIDTH, Figure, Row, chart_of, layer_axis

if TYPE_CHECKING:
    import altair

    from heedful.evaluation.result import Report

FLOOR = 1e-5
"""Nats from uniform at which the logarithmic axis ends; 0, uniform itself, lies below any such axis."""

SERIES = ("this model", "nothing learned")


def concentration_by_layer(report: Report) -> altair.TopLevelMixin | None:
    """Draw each head as a point on a log axis and the range of untrained heads as a bar per layer; return None if no
    head has a concentration.
    """
    import altair

    heads = [
        {"layer": row.layer, "nats": max(value, FLOOR), "series": SERIES[0]}
        for row in report.heads
        if math.isfinite(value := row.statistics.get("concentration", math.nan))
    ]
    if not heads:
        return None
    untrained = _untrained(report)
    x = layer_axis(layers_of(report))
    decades = altair.Axis(values=[10.0**power for power in range(-5, 2)], format="~g")
    scale = altair.Scale(type="log", nice=False)
    y = altair.Y("nats:Q", title="nats from uniform (log scale)", scale=scale, axis=decades)
    colours = altair.Scale(domain=list(SERIES[: 2 if untrained else 1]), range=[BLUE, ORANGE])
    colour = altair.Color("series:N", scale=colours, legend=altair.Legend(title=None, orient="top"))
    parts = [*_margins(report), chart_of(heads).mark_circle(size=30, opacity=0.75).encode(x=x, y=y, color=colour)]
    if untrained:
        bars = chart_of(untrained).mark_bar(size=max(3, min(12, 240 // layers_of(report))), opacity=0.8)
        parts.append(bars.encode(x=x, y=y, y2="most:Q", color=colour))
    return altair.layer(*parts).properties(width=WIDTH, height=HEIGHT)


def _untrained(report: Report) -> list[Row]:
    """Per layer, the least and the most that any head of any untrained model shows."""
    found: dict[int, list[float]] = {}
    for card in report.cards.heads if report.cards is not None else ():
        if "concentration" in card.untrained:
            low, _, high = card.untrained["concentration"]
            found.setdefault(card.layer, []).extend((low, high))
    ranges = ((layer, max(min(values), FLOOR), max(max(values), FLOOR)) for layer, values in sorted(found.items()))
    return [
        {"layer": layer, "nats": low, "most": max(high, low * 1.08), "series": SERIES[1]} for layer, low, high in ranges
    ]


def _margins(report: Report) -> list[altair.Chart]:
    import altair

    margins = report.settings.get("margins", {})
    messages = [("diffuse", "diffuse below"), ("selective", "selective above")]
    rows = [
        {"nats": float(margins[name]), "says": says}
        for name, says in messages
        if isinstance(margins, dict) and isinstance(margins.get(name), int | float) and margins[name] > 0
    ]
    if not rows:
        return []
    y = altair.Y("nats:Q")
    rule = chart_of(rows).mark_rule(color="ink", opacity=0.55, strokeDash=[3, 3])
    text = chart_of(rows).mark_text(align="left", dx=4, dy=-6, color="ink", fontSize=10)
    return [rule.encode(y=y), text.encode(x=altair.value(0), y=y, text="says:N")]


CONCENTRATION_BY_LAYER = Figure(
    name="concentration_by_layer",
    title="Concentration, expected and found",
    caption="A point is a head: its distance from uniform attention, which would be 0, below any logarithmic axis. The "
    "bars are the range over heads that have learned nothing, the dashed lines the verdicts' margins.",
    chart=concentration_by_layer,
)
