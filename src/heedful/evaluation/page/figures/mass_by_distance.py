"""Plot mean attention mass by distance over all heads, with its 95 % band and uniform attention for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from heedful.reporting.escape import visible
from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, WIDTH, Figure, Row, chart_of

if TYPE_CHECKING:
    import altair

    from heedful.evaluation.result import Report

SERIES = ("this model", "equal weights")


def mass_by_distance(report: Report) -> altair.TopLevelMixin | None:
    """Draw the mean with its 95 % band, and uniform attention as a dashed line; None if nothing was measured."""
    import altair

    curve = _curve(report)
    if not curve:
        return None
    names = [row["distance"] for row in curve]
    rows = [
        {"distance": row["distance"], "mass": row[key], "series": series}
        for row in curve
        for key, series in zip(("mass", "uniform"), SERIES, strict=True)
    ]
    band = [row for row in curve if row["low"] is not None and row["high"] is not None]
    axis = altair.Axis(labelAngle=0, grid=False)
    x = altair.X("distance:N", sort=names, title="distance from query to key (tokens)", axis=axis)
    y = altair.Y("mass:Q", title="share of the weight", axis=altair.Axis(format="%"))
    colours = altair.Scale(domain=list(SERIES), range=[BLUE, ORANGE])
    colour = altair.Color("series:N", scale=colours, legend=altair.Legend(title=None, orient="top"))
    dash = altair.StrokeDash("series:N", scale=altair.Scale(domain=list(SERIES), range=[[1, 0], [5, 4]]), legend=None)
    spread = chart_of(band).mark_area(opacity=0.25, color=BLUE).encode(x=x, y=altair.Y("low:Q"), y2="high:Q")
    lines = chart_of(rows).mark_line(strokeWidth=2, point=True).encode(x=x, y=y, color=colour, strokeDash=dash)
    return altair.layer(spread, lines).properties(width=WIDTH, height=HEIGHT)


def _curve(report: Report) -> list[Row]:
    for section in report.sections:
        for finding in section.findings:
            found = finding.detail.get("curve") if finding.claim == "mass_by_distance" else None
            if isinstance(found, list):
                return [row for one in found if isinstance(one, Mapping) and (row := _row(one))]
    return []


def _row(one: Mapping[str, Any]) -> Row:
    numbers = {name: one.get(name) for name in ("mass", "uniform", "low", "high")}
    if not all(isinstance(numbers[name], int | float) for name in ("mass", "uniform")):
        return {}
    return {"distance": visible(one.get("distance", "")), **numbers}


MASS_BY_DISTANCE = Figure(
    name="mass_by_distance",
    title="How far attention reaches",
    caption="Mean share of the weight by distance, over all heads; the band is the 95 % interval over documents. Above "
    "the dashed line of equal weights, a distance is preferred.",
    chart=mass_by_distance,
)
