"""Charts of an alignment: every head's skill, and an excerpt with expected and actual weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from heedful.reporting.drawing import Drawn
from heedful.reporting.escape import visible
from heedful.reporting.figure import DIVERGING, SEQUENTIAL, Figure, chart_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heedful.ngrams.alignment.record import Alignment, DrawnPiece

COLUMNS = 3
PANEL = 250
LONGEST = 9
"""Characters of a token on an axis."""


def skill_chart(record: Alignment) -> Drawn:
    """Draw a heat map of skill by layer and head for each table, with colours limited to -1 ... 1."""
    import altair

    rows = [
        {"layer": one.layer, "head": one.head, "table": f"n={one.n}, skip {one.skip}", "skill": one.skill.estimate}
        for one in record.heads
        if math.isfinite(one.skill.estimate)
    ]
    layers, heads = (len({getattr(one, name) for one in record.heads}) for name in ("layer", "head"))
    scale = altair.Scale(domain=[-1, -0.5, 0, 0.5, 1], range=list(DIVERGING), clamp=True, interpolate="rgb")
    overlap = altair.Axis(labelOverlap=True, labelAngle=0)
    legend = altair.Legend(title="skill", values=[-1, -0.5, 0, 0.5, 1], format=".1f")
    made = (
        chart_of(rows)
        .mark_rect()
        .encode(
            x=altair.X("head:O", title="head", axis=overlap),
            y=altair.Y("layer:O", title="layer", axis=overlap),
            color=altair.Color("skill:Q", scale=scale, legend=legend),
        )
        .properties(width=max(60, min(260, 26 * heads)), height=max(26, min(300, 26 * layers)))
        .facet(facet=altair.Facet("table:N", title=None, header=altair.Header(labelPadding=6)), columns=2)
    )
    return Drawn(Figure(name="skill_by_head", title="Skill of every head", caption="", chart=lambda _: made), made)


def piece_chart(piece: DrawnPiece) -> Drawn:
    """Draw expected weights, then each head's weights, on one colour scale, with tokens on both axes."""
    import altair

    names = [f"{place:02d} {_label(token)}" for place, token in enumerate(piece.tokens)]
    title = f"expected, n={piece.n} s={piece.skip}"
    panels = [(title, piece.expected)]
    panels += [(f"L{one.layer}H{one.head}, {one.why}: {one.skill:+.2f}", one.weights) for one in piece.heads]
    axis: dict[str, Any] = {
        "labelExpr": "slice(datum.label, 3)",
        "labelFontSize": 8,
        "labelOverlap": False,
        "ticks": False,
    }
    scale = altair.Scale(type="sqrt", domain=[0, 1], range=list(SEQUENTIAL))
    made = (
        chart_of([row for panel, weights in panels for row in _cells(panel, weights, names)])
        .mark_rect()
        .encode(
            x=altair.X(
                "key:O", title="key", scale=altair.Scale(domain=names), axis=altair.Axis(labelAngle=-90, **axis)
            ),
            y=altair.Y("query:O", title="query", scale=altair.Scale(domain=names), axis=altair.Axis(**axis)),
            color=altair.Color("weight:Q", scale=scale, legend=altair.Legend(title="weight")),
        )
        .properties(width=PANEL, height=PANEL)
        .facet(
            facet=altair.Facet("panel:N", sort=[name for name, _ in panels], title=None, header=altair.Header()),
            columns=COLUMNS,
        )
    )
    message = "Expected and actual attention"
    return Drawn(Figure(name="expected_and_actual", title=message, caption="", chart=lambda _: made, wide=True), made)


def _cells(panel: str, weights: Sequence[Sequence[float]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"panel": panel, "query": names[row], "key": names[key], "weight": weights[row][key]}
        for row in range(len(weights))
        for key in range(row + 1)
        if math.isfinite(weights[row][key])
    ]


def _label(token: str) -> str:
    shown = visible(token.replace("\n", "\\n"))
    shown = shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "\u2026"
    return "\u00b7" + shown[1:] if shown.startswith(" ") else shown
