"""Forest plot of the loss increase by each replacement of attention, in the whole model and in each layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from heedful.reporting.escape import visible
from heedful.reporting.figure import BLUE, ORANGE, Figure, Row, chart_of

if TYPE_CHECKING:
    import altair

    from heedful.evaluation.result import Finding, Report

WHOLE = "all"
ARMS = {
    "zero": "output removed",
    "uniform": "equal weights",
    "mean": "mean pattern",
    "shuffled": "other text's pattern",
    "local": "nearest keys",
}
SERIES = ("beyond the margin", "not beyond it")


def ablation_forest(report: Report) -> altair.TopLevelMixin | None:
    """Draw the loss increases with 95 % intervals, one row per layer and one column per replacement; return None if
    the report has no ablation.
    """
    import altair

    rows = [row for section in report.sections for one in section.findings if (row := _row(one))]
    if not rows:
        return None
    layers = sorted({row["layer"] for row in rows}, key=lambda name: -1 if name == WHOLE else int(name))
    margin = next((float(row["margin"]) for row in rows if row["margin"]), 0.01)
    messages = [words for arm, words in ARMS.items() if any(row["arm"] == words for row in rows)]
    messages += sorted({row["arm"] for row in rows} - set(messages))
    scale = altair.Scale(type="symlog", constant=margin, nice=False)
    ticks = _ticks(rows)
    axis = altair.Axis(values=ticks, labelOverlap=True, grid=True, format="~g")
    x = altair.X("estimate:Q", title=None, scale=scale, axis=axis)
    alone = layers == [WHOLE]  # then the arms are the rows
    names = altair.Axis(labelOverlap=not alone, grid=False, labelLimit=200)
    y = altair.Y("arm:N", sort=messages, title=None, axis=names)
    if not alone:
        y = altair.Y("layer:N", sort=layers, title="layer", axis=names)
    colours = altair.Scale(domain=list(SERIES), range=[BLUE, ORANGE])
    colour = altair.Color("series:N", scale=colours, legend=altair.Legend(title=None, orient="top"))
    shape = altair.Shape("series:N", scale=altair.Scale(domain=list(SERIES), range=["circle", "diamond"]), legend=None)
    base = chart_of(rows)
    parts = altair.layer(
        base.mark_rule(color="ink", opacity=0.5).encode(x=altair.X("min(zero):Q")),
        base.mark_rule(color="ink", opacity=0.35, strokeDash=[3, 3]).encode(x=altair.X("min(margin):Q")),
        base.mark_rule(strokeWidth=1.5).encode(x=altair.X("low:Q"), x2="high:Q", y=y, color=colour),
        base.mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
    ).properties(
        width=520 if alone else 150,
        height=26 * len(messages) if alone else max(60, min(24, 420 // len(layers)) * len(layers)),
    )
    if alone:
        return parts
    header = altair.Header(title=None, labelPadding=6)
    return parts.facet(column=altair.Column("arm:N", sort=messages, header=header), spacing=14)


def _row(finding: Finding) -> Row:
    arm = finding.detail.get("arm")
    known = finding.estimate is not None and math.isfinite(finding.estimate) and finding.head is None
    if not isinstance(arm, str) or not known or finding.interval is None:
        return {}
    low, high = finding.interval
    bounds = {"low": low, "high": high} if math.isfinite(low) and math.isfinite(high) else {}
    beyond = bool(bounds) and finding.threshold is not None and low > finding.threshold
    return {
        "arm": ARMS.get(arm, visible(arm)),
        "layer": WHOLE if finding.layer is None else str(finding.layer),
        "estimate": finding.estimate,
        "margin": finding.threshold,
        "zero": 0.0,
        "series": SERIES[0] if beyond else SERIES[1],
        **bounds,
    }


def _ticks(rows: list[Row]) -> list[float]:
    """Powers of ten, both ways, that the data reach."""
    numbers = [abs(row[name]) for row in rows for name in ("estimate", "low", "high") if name in row]
    most = max(numbers)
    least = min(min(float(row.get("low", row["estimate"])) for row in rows), 0.0)
    up = [10.0**power for power in range(-1 if most > 0.1 else -2, 4) if 10.0**power <= most * 1.01]
    down = [-tick for tick in up if -tick >= least * 1.01]
    return [*reversed(down), 0.0, *up]


ABLATION_FOREST = Figure(
    name="ablation_forest",
    title="What replacing attention costs",
    caption="Rise of the loss in nats per token (symmetric log scale) with its 95 % interval over documents, for the "
    "whole model and layer by layer. The dashed line is the margin: an interval beyond it counts as a cost.",
    chart=ablation_forest,
    wide=True,
)
