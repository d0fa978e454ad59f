"""Charts of gauge heads by the order of their irrep, called spin: concentration and temperature, compared with
theory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, WIDTH, Row, chart_of

if TYPE_CHECKING:
    import altair

SPINS, COLOURS = ("l0", "l1", "l2"), (BLUE, "#6b7785", ORANGE)
LEAST, MOST = 1e-3, 1e2
"""Ends of the axis of temperatures over spreads."""


def _colour() -> altair.Color:
    import altair

    scale = altair.Scale(domain=list(SPINS), range=list(COLOURS))
    return altair.Color("spin:N", scale=scale, legend=altair.Legend(title=None, orient="top"))


def spin_by_rule(rows: Sequence[Row]) -> altair.TopLevelMixin:
    """Draw the mean concentration with its interval, for each cell of an experiment and each irrep order (l0, l1, l2).

    Args:
        rows: ``cell``, ``spin`` (l0, l1 or l2), ``mean``, ``low`` and ``high`` in nats; cells in their order.
    """
    import altair

    cells = list(dict.fromkeys(row["cell"] for row in rows))
    x = altair.X("cell:N", sort=cells, title=None, axis=altair.Axis(labelAngle=-25, grid=False))
    offset = altair.XOffset("spin:N", sort=list(SPINS))
    y = altair.Y("mean:Q", title="nats from uniform", scale=altair.Scale(zero=True))
    points = chart_of(rows).mark_circle(size=55, opacity=1).encode(x=x, xOffset=offset, y=y, color=_colour())
    bounds = {"y": altair.Y("low:Q", title="nats from uniform"), "y2": "high:Q"}
    bars = chart_of(rows).mark_rule(strokeWidth=2).encode(x=x, xOffset=offset, color=_colour(), **bounds)
    return altair.layer(bars, points).properties(width=WIDTH, height=HEIGHT)


def expected_and_found(expected: Sequence[Row], found: Sequence[Row]) -> altair.TopLevelMixin:
    """Draw concentration against ``kappa / spread^2``: lines for theory, points for heads.

    Args:
        expected: ``spin``, ``ratio`` and ``nats``, along lines.
        found: The same of heads, and ``trained``, whether they are.
    """
    import altair

    ticks = altair.Axis(values=[10.0**power for power in range(-3, 3)], format="~g", grid=False)
    scale = altair.Scale(type="log", domain=[LEAST, MOST])
    x = altair.X("ratio:Q", title="kappa / s\u00b2 (log scale)", scale=scale, axis=ticks)
    y = altair.Y("nats:Q", title="nats from uniform", scale=altair.Scale(domain=[0, 4.2], clamp=True))
    lines = chart_of(expected).mark_line(strokeWidth=2, opacity=0.75).encode(x=x, y=y, color=_colour(), order="ratio:Q")
    shape = altair.Shape(
        "series:N",
        scale=altair.Scale(domain=["trained heads", "random heads"], range=["circle", "triangle-up"]),
        legend=altair.Legend(title=None, orient="top", symbolStrokeColor="ink", symbolFillColor="transparent"),
    )
    marks = [{**row, "series": "trained heads" if row["trained"] else "random heads"} for row in found]
    points = chart_of(marks).mark_point(size=38, strokeWidth=1.5).encode(x=x, y=y, color=_colour(), shape=shape)
    return altair.layer(lines, points).properties(width=WIDTH, height=HEIGHT)
