"""Line charts of normalised entropy and of skill, per layer, against the standard deviation of the weight matrices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from heedful.reporting.drawing import Drawn
from heedful.reporting.figure import SEQUENTIAL, Figure, chart_of

if TYPE_CHECKING:
    import altair

    from heedful.ngrams.explanation.record import Explanation, ScaledLayer

PANEL_WIDTH, PANEL_HEIGHT = 300, 240


def scale_chart(record: Explanation) -> Drawn:
    """Draw normalised entropy and skill (clipped at -1) against the scale of the matrices, one line per layer; the
    first layer also has 95 % intervals.
    """
    import altair

    rows: list[dict[str, Any]] = [
        {"std": scale.std, "layer": f"L{one.layer}", **_focus(one), **_skill(one)}
        for scale in record.scales
        for one in scale.layers
    ]
    names = [f"L{one.layer}" for one in record.scales[0].layers]
    shades = list(reversed(SEQUENTIAL[3:-1]))  # middle shades show on light and dark ground
    colours = [shades[place * (len(shades) - 1) // max(len(names) - 1, 1)] for place in range(len(names))]
    colour = altair.Color(
        "layer:N",
        sort=names,
        scale=altair.Scale(domain=names, range=colours),
        legend=altair.Legend(title="layer", orient="right"),
    )
    made = altair.hconcat(
        _panel(rows, "share", "entropy over its maximum", (0.0, 1.0), 1.0, colour),
        _panel(rows, "skill", "skill: 1 exact, 0 equal; below -1 at the edge", (-1.0, 1.0), 0.0, colour),
        spacing=24,
    )
    title = "Focus and agreement over scale"
    return Drawn(Figure(name="scale_effects", title=title, caption="", chart=lambda _: made), made)


def _panel(
    rows: list[dict[str, Any]],
    name: str,
    title: str,
    domain: tuple[float, float],
    equal: float,
    colour: altair.Color,
) -> Any:
    import altair

    scales = sorted({float(row["std"]) for row in rows})
    axis = altair.Axis(values=scales, format="~g", grid=False, labelAngle=-45)
    x = altair.X("std:Q", scale=altair.Scale(type="log"), title="standard deviation of the matrices", axis=axis)
    scale = altair.Scale(domain=list(domain), clamp=True, nice=False)
    y = altair.Y(f"{name}:Q", scale=scale, title=title)
    first = [row for row in rows if row["layer"] == "L0"]
    ends = {"y": altair.Y(f"{name}_low:Q", scale=scale, title=title), "y2": altair.Y2(f"{name}_high:Q")}
    return altair.layer(
        chart_of([{"at": equal}])
        .mark_rule(color="ink", opacity=0.4, strokeDash=[3, 3])
        .encode(y=altair.Y("at:Q", scale=scale, title=title)),
        chart_of(first).mark_rule(strokeWidth=1.5).encode(x=x, color=colour, **ends),
        chart_of(rows).mark_line(point=True, strokeWidth=2).encode(x=x, y=y, color=colour),
    ).properties(width=PANEL_WIDTH, height=PANEL_HEIGHT)


def _focus(one: ScaledLayer) -> dict[str, float]:
    return {"share": one.share.estimate, "share_low": one.share.low, "share_high": one.share.high}


def _skill(one: ScaledLayer) -> dict[str, float]:
    message = one.paired_skill
    low, high = (one.skill, one.skill) if message is None or math.isnan(message.low) else (message.low, message.high)
    return {"skill": max(one.skill, -1.0), "skill_low": max(low, -1.0), "skill_high": max(high, -1.0)}
