"""Draw the charts of a run: its curves, and the figures on key vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heedful.monitoring.page.record import KeyFigure
from heedful.reporting.drawing import Drawn
from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, WIDTH, Figure, Row, chart_of, layer_axis

if TYPE_CHECKING:
    import altair

GREEN = "#3c8f5a"
COLOURS = (BLUE, GREEN, ORANGE)
DASHES = ([1, 0], [6, 3], [2, 2])
"""Groups of layers also differ in dashes and shapes: colour only repeats it."""

LABEL = 16
"""Height of a line of words, in units of a figure."""


def key_chart(figure: KeyFigure) -> Drawn:
    """Draw one figure of the key-vector page.

    Args:
        figure: The figure and its rows.
    """
    made = {"key_magnitude_profile": _profile, "entropy_and_spread": _scatter}.get(figure.name, _evolution)(figure)
    shown = Figure[KeyFigure](name=figure.name, title=figure.title, caption=figure.paragraph, chart=lambda _: made)
    return Drawn(shown, made)


def _evolution(figure: KeyFigure) -> altair.TopLevelMixin:
    """A line a group of layers over steps, with the range over its heads; a panel a statistic."""
    import altair

    groups, panels = _distinct(figure.rows, "group"), _distinct(figure.rows, "panel")
    width = WIDTH if len(panels) == 1 else WIDTH * 3 // 4
    made = []
    for panel in panels:
        rows = [row for row in figure.rows if row["panel"] == panel]
        x = altair.X("step:Q", title="step", axis=altair.Axis(format="d", grid=False))
        scale = altair.Scale(zero=False) if figure.name != "latent_redundancy" else _whole(figure.rows)
        y = altair.Y("value:Q", title=panel, scale=scale)
        colour, dash = _colour(groups), _dash(groups)
        low = altair.Y("low:Q", title=panel, scale=scale)
        band = chart_of(rows).mark_area(opacity=0.13).encode(x=x, y=low, y2="high:Q", color=colour)
        lines = chart_of(rows).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)
        parts = [band, lines, *_rule(figure, scale)]
        made.append(altair.layer(*parts).properties(width=width, height=HEIGHT))
    return made[0] if len(made) == 1 else altair.hconcat(*made)


def _profile(figure: KeyFigure) -> altair.TopLevelMixin:
    """A bar a layer at the last step, the range over its heads, and a tick where it began."""
    import altair

    x = layer_axis(1 + max(int(row["layer"]) for row in figure.rows))
    wide = max(2.0, min(26.0, 0.6 * WIDTH / len(figure.rows)))
    table = chart_of(figure.rows)
    twice = any("first" in row for row in figure.rows)
    title = "mean key norm, last step (tick: first)" if twice else "mean key norm"
    bars = table.mark_bar(color=BLUE, opacity=0.75, size=wide).encode(x=x, y=altair.Y("value:Q", title=title))
    spread = table.mark_rule(color="ink", strokeWidth=1.5).encode(x=x, y="low:Q", y2="high:Q")
    ticks = table.mark_tick(orient="horizontal", color=ORANGE, thickness=3, size=wide).encode(x=x, y="first:Q")
    parts = [bars, spread, *([ticks] if twice else []), *_rule(figure, altair.Undefined)]
    return altair.layer(*parts).properties(width=WIDTH, height=HEIGHT)


def _scatter(figure: KeyFigure) -> altair.TopLevelMixin:
    """Heads of the last step: normalised entropy against two properties."""
    import altair

    groups, made = _distinct(figure.rows, "group"), []
    for panel in _distinct(figure.rows, "panel"):
        rows = [row for row in figure.rows if row["panel"] == panel]
        shape = altair.Shape("group:N", sort=groups, scale=altair.Scale(domain=groups), legend=_legend())
        points = (
            chart_of(rows)
            .mark_point(filled=True, size=55, opacity=0.8)
            .encode(
                x=altair.X("value:Q", title=panel, scale=altair.Scale(zero=False)),
                y=altair.Y("entropy:Q", title="entropy / most possible", scale=altair.Scale(zero=False)),
                color=_colour(groups),
                shape=shape,
            )
        )
        made.append(points.properties(width=WIDTH * 3 // 4, height=HEIGHT))
    return altair.hconcat(*made)


def _rule(figure: KeyFigure, scale: Any) -> list[altair.LayerChart | altair.Chart]:
    """Dashed lines at the references, named beside the panel, where no line or bar of it can lie beneath the words."""
    import altair

    if not figure.reference:
        return []
    y = altair.Y("value:Q", scale=scale)
    lines = chart_of([{"value": value} for value in figure.reference])
    words = chart_of([{"value": at, "told": message} for at, message in _labels(figure)])
    text = words.mark_text(align="left", baseline="middle", dx=5, color="ink")
    return [
        lines.mark_rule(color="ink", strokeDash=[5, 4], opacity=0.7).encode(y=y),
        text.encode(y=y, x=altair.value(WIDTH), text="told:N"),
    ]


def _labels(figure: KeyFigure) -> list[tuple[float, str]]:
    """Where each reference is named; those that lie closer than a line of words share one name."""
    heights = [float(row[name]) for row in figure.rows for name in ("low", "high") if row.get(name) is not None]
    heights += figure.reference
    apart = (max(heights) - min(heights)) * LABEL / HEIGHT
    near: list[list[float]] = []
    for value in sorted(figure.reference):
        if near and value - near[-1][-1] < apart:
            near[-1].append(value)
        else:
            near.append([value])
    return [(sum(one) / len(one), f"√d_k = {', '.join(f'{value:.4g}' for value in one)}") for one in near]


def _colour(groups: list[str]) -> altair.Color:
    import altair

    return altair.Color("group:N", sort=groups, scale=_colours(groups), legend=_legend())


def _colours(groups: list[str]) -> altair.Scale:
    import altair

    return altair.Scale(domain=groups, range=list(COLOURS[: len(groups)]))


def _dash(groups: list[str]) -> altair.StrokeDash:
    import altair

    scale = altair.Scale(domain=groups, range=list(DASHES[: len(groups)]))
    return altair.StrokeDash("group:N", sort=groups, scale=scale, legend=_legend())


def _legend() -> altair.Legend:
    import altair

    return altair.Legend(title=None, orient="top", symbolOpacity=1)


def _whole(rows: tuple[Row, ...]) -> altair.Scale:
    """One scale for all panels: raw and centred cosines are to be compared."""
    import altair

    return altair.Scale(domain=[min(row["low"] for row in rows), max(row["high"] for row in rows)], nice=True)


def _distinct(rows: tuple[Row, ...], name: str) -> list[str]:
    return list(dict.fromkeys(str(row[name]) for row in rows))
