"""Charts of attention derived from counts: effect of matrix scale, expected and actual weights, skill by head,
singular values, entropy by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, SEQUENTIAL, WIDTH, Row, chart_of

if TYPE_CHECKING:
    import altair

GREY = "#6b7785"
CELL = 7
"""Units a token of the expected and actual weights."""

LEAST_SKILL = -1.0
"""Skills below it are drawn at it."""

SKILL = "skill (below -1 drawn at -1)"


def _legend() -> altair.Legend:
    import altair

    return altair.Legend(title=None, orient="top", labelLimit=400)


def scale_effects(focus: Sequence[Row], skill: Sequence[Row]) -> altair.TopLevelMixin:
    """Draw two line charts against the standard deviation of the matrices: normalised entropy, and skill (agreement
    with the counts).

    Args:
        focus: ``std``, ``series`` and ``mean``: shares of 1.
        skill: ``std``, ``series``, ``mean``, ``low`` and ``high``.
    """
    import altair

    axis = altair.Axis(values=[0.001, 0.01, 0.1, 1], format="~g", grid=False)
    x = altair.X("std:Q", title="standard deviation of the matrices", scale=altair.Scale(type="log"), axis=axis)

    left = _lines(focus, x, "share", (0, 1), (GREY, "#a94a12"))
    right = _lines(skill, x, SKILL, (LEAST_SKILL, 1), (ORANGE, BLUE))
    return altair.hconcat(left, altair.layer(_zero(), right)).resolve_scale(color="independent")


def _lines(
    rows: Sequence[Row], x: altair.X, title: str, ends: tuple[float, float], colours: Sequence[str]
) -> altair.LayerChart:
    import altair

    names = list(dict.fromkeys(row["series"] for row in rows))
    colour = altair.Color("series:N", scale=altair.Scale(domain=names, range=list(colours)), legend=_legend())
    y = altair.Y("mean:Q", title=title, scale=altair.Scale(domain=list(ends)))
    chart = chart_of([{**row, "mean": max(row["mean"], ends[0])} for row in rows]).properties(width=330, height=HEIGHT)
    line = chart.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
    return altair.LayerChart(layer=[line, chart.mark_circle(size=45, opacity=1).encode(x=x, y=y, color=colour)])


def _zero() -> altair.Chart:
    """The skill of uniform attention."""
    return chart_of([{"at": 0}]).mark_rule(color="ink", strokeDash=[3, 3], opacity=0.6).encode(y="at:Q")


def expected_and_actual(panels: Sequence[tuple[str, Sequence[Row]]], tokens: Sequence[str]) -> altair.TopLevelMixin:
    """Draw expected and actual weights of one sequence.

    Args:
        panels: Title and rows ``query``, ``key``, ``weight``.
        tokens: Of the sequence, for both axes.
    """
    import altair

    side = CELL * len(tokens)
    words = "[" + ",".join(f"'{_shown(token)}'" for token in tokens) + "]"
    drawn = []
    for place, (title, rows) in enumerate(panels):
        band = altair.Scale(paddingInner=0, paddingOuter=0)
        axis = altair.Axis(labelExpr=f"{words}[datum.value]", labelFontSize=7, labelAngle=0, ticks=False, grid=False)
        scale = altair.Scale(range=list(SEQUENTIAL), domain=[0, 1], type="sqrt")
        colour = altair.Color("weight:Q", scale=scale, legend=altair.Legend(title="weight") if place == 3 else None)
        y = altair.Y("query:O", title="query" if place % 2 == 0 else None, scale=band, axis=axis)
        x = altair.X("key:O", title="key" if place > 1 else None, scale=band, axis=axis)
        chart = chart_of(rows).mark_rect().encode(x=x, y=y, color=colour)
        heading = altair.TitleParams(title, color="ink", fontSize=12, fontWeight="normal", anchor="start")
        drawn.append(chart.properties(width=side, height=side, title=heading))
    return altair.concat(*drawn, columns=2).resolve_scale(color="independent")


def _shown(token: str) -> str:
    return {"[UNK]": "\u25a1", " ": "\u2423", "\n": "\u21b5", "'": "\\'", "\\": "\\\\"}.get(token, token)


def skill_by_head(rows: Sequence[Row]) -> altair.TopLevelMixin:
    """Draw the skill of every head relative to uniform attention.

    Args:
        rows: ``place`` (such as L0H1), ``series``, ``mean``, ``low`` and ``high``.
    """
    import altair

    places, names = (list(dict.fromkeys(row[name] for row in rows)) for name in ("place", "series"))
    colour = altair.Color("series:N", scale=altair.Scale(domain=names, range=[ORANGE, BLUE]), legend=_legend())
    x = altair.X("place:N", sort=places, title=None, axis=altair.Axis(labelAngle=0, labelFontSize=9, grid=False))
    y = altair.Y("mean:Q", title="skill")
    offset = altair.XOffset("series:N", sort=names)
    chart = chart_of(rows)
    bars = chart.mark_rule(strokeWidth=2).encode(
        x=x, xOffset=offset, color=colour, y=altair.Y("low:Q", title="skill"),
        y2="high:Q",
    )  # fmt: skip
    points = chart.mark_circle(size=50, opacity=1).encode(x=x, xOffset=offset, y=y, color=colour)
    return altair.layer(_zero(), bars, points).properties(width=1.5 * WIDTH, height=HEIGHT)


def singular_values(values: Sequence[float], kept: int) -> altair.TopLevelMixin:
    """Draw singular values, largest first; highlight the ten smallest kept ones, which a solver with ascending order
    prints as its top ten.

    Args:
        values: All of them, largest first.
        kept: How many are kept.
    """
    import altair

    series = ("kept", "printed as the top by a solver that ascends", "not kept")

    def which(place: int) -> str:
        return series[2] if place > kept else series[1] if place > kept - 10 else series[0]

    rows = [{"place": n, "value": value, "series": which(n)} for n, value in enumerate(values, start=1)]
    scale = altair.Scale(domain=list(series), range=[BLUE, ORANGE, "#a8b1bb"])
    colour = altair.Color("series:N", scale=scale, legend=_legend())
    x = altair.X("place:Q", title="place, largest first", axis=altair.Axis(grid=False), scale=altair.Scale(nice=False))
    y = altair.Y("value:Q", title="singular value of M")
    points = chart_of(rows).mark_circle(size=36, opacity=1).encode(x=x, y=y, color=colour)
    return points.properties(width=WIDTH, height=HEIGHT)


def entropy_and_ceiling(rows: Sequence[Row], flat: float) -> altair.TopLevelMixin:
    """Draw attention entropy in nats by query position, with a dashed line at ``flat``, the maximum of the last row
    (log of the number of tokens).

    Args:
        rows: ``position``, ``series`` and ``nats``.
        flat: Log of the number of tokens.
    """
    import altair

    names = list(dict.fromkeys(row["series"] for row in rows))
    scale = altair.Scale(domain=names, range=["#a8b1bb", BLUE, ORANGE][: len(names)])
    colour = altair.Color("series:N", scale=scale, legend=_legend())
    last = max(row["position"] for row in rows)
    ends = altair.Scale(domain=[0, last], nice=False)
    x = altair.X("position:Q", title="position of the query", axis=altair.Axis(grid=False), scale=ends)
    y = altair.Y("nats:Q", title="entropy, nats")
    widths = altair.Scale(domain=names, range=[8, 2, 2][: len(names)])
    width = altair.StrokeWidth("series:N", scale=widths, legend=None)
    lines = chart_of(rows).mark_line(opacity=1).encode(x=x, y=y, color=colour, strokeWidth=width)
    rule = chart_of([{"at": flat}]).mark_rule(color="ink", strokeDash=[3, 3]).encode(y="at:Q")
    label = chart_of([{"at": flat, "told": "ln 32, taken for the maximum of every row"}])
    text = label.mark_text(align="left", dx=6, dy=-8, color="ink").encode(x=altair.value(0), y="at:Q", text="told:N")
    return altair.layer(lines, rule, text).properties(width=WIDTH, height=HEIGHT)
