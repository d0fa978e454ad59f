"""Charts for the page on keys in few bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from heedful.reporting.drawing import Drawn
from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, WIDTH, Figure, chart_of, layer_axis

if TYPE_CHECKING:
    import altair

    from heedful.compression.record import Quantization, Trial
    from heedful.inference.effect import Effect

GREEN = "#3c8f5a"
SERIES = ("quantizer", "noise of its size")
GROUPS = ("tensor", "token", "channel")


def loss_chart(record: Quantization) -> Drawn:
    """Draw the loss under each quantizer and under noise of equal size as a forest plot."""
    import altair

    rows = []
    for trial in record.trials:
        for series, effect in zip(SERIES, (trial.quantized.loss, trial.noise.loss), strict=True):
            rows += _row(effect, name=trial.name, series=series)
    margin = float(record.settings["margin"])
    scale = altair.Scale(type="symlog", constant=margin / 10, nice=False)
    x = altair.X("estimate:Q", title="change of the loss, nat/token (symmetric log)", scale=scale)
    y = altair.Y("name:N", sort=[trial.name for trial in record.trials], title=None, axis=altair.Axis(labelLimit=260))
    offset = altair.YOffset("series:N", sort=list(SERIES))
    colour = altair.Color("series:N", scale=altair.Scale(domain=list(SERIES), range=[ORANGE, BLUE]), legend=_legend())
    shape = altair.Shape("series:N", scale=altair.Scale(domain=list(SERIES), range=["circle", "diamond"]), legend=None)
    base, edges = chart_of(rows), chart_of([{"at": 0.0}, {"at": margin}, {"at": -margin}])
    made = altair.layer(
        edges.mark_rule(color="ink", opacity=0.4, strokeDash=[3, 3]).encode(x=altair.X("at:Q", scale=scale)),
        base.mark_rule(strokeWidth=1.5).encode(x=altair.X("low:Q"), x2="high:Q", y=y, yOffset=offset, color=colour),
        base.mark_point(filled=True, size=35, opacity=1).encode(x=x, y=y, yOffset=offset, color=colour, shape=shape),
    ).properties(width=WIDTH, height=26 * len(record.trials))
    return _drawn("quantizer_loss", "What each quantizer costs", made)


def shown_trial(record: Quantization) -> Trial:
    """Return the quantizer shown in detail: an unclipped one, preferably with 4 bits, then per tensor, then with the
    fewest bits; if all clip, the first.
    """
    plain = [trial for trial in record.trials if trial.clip is None and trial.bits is not None]
    wanted = sorted(plain, key=lambda trial: (trial.bits != 4, trial.group != "tensor", trial.bits or 0))
    return (wanted or list(record.trials))[0]


def layer_chart(record: Quantization) -> Drawn:
    """Draw the mean divergence by layer at the shown number of bits, one line per quantizer group."""
    import altair

    bits = shown_trial(record).bits
    rows: list[dict[str, Any]] = []
    trials = [trial for trial in record.trials if trial.bits == bits and trial.clip is None] or list(record.trials)[:1]
    for trial in trials:
        for layer in sorted({head.layer for head in trial.heads}):
            values = [head.divergence.estimate for head in trial.heads if head.layer == layer]
            known = [value for value in values if math.isfinite(value) and value > 0]
            if known:
                rows.append({"layer": layer, "name": trial.name, "value": sum(known) / len(known)})
    names = [trial.name for trial in trials]
    colours = altair.Scale(domain=names, range=[ORANGE, GREEN, BLUE][: len(names)])
    y = altair.Y("value:Q", title="KL in nats, mean over heads", scale=altair.Scale(type="log"))
    dash = altair.StrokeDash(
        "name:N",
        sort=names,
        scale=altair.Scale(domain=names, range=[[1, 0], [6, 3], [2, 2]][: len(names)]),
        legend=_legend(),
    )
    made = (
        chart_of(rows)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            x=layer_axis(1 + max((int(row["layer"]) for row in rows), default=0)),
            y=y,
            color=altair.Color("name:N", sort=names, scale=colours, legend=_legend()),
            strokeDash=dash,
        )
        .properties(width=WIDTH, height=HEIGHT)
    )
    return _drawn("divergence_by_layer", "Divergence by layer", made)


def _row(effect: Effect | None, **more: str) -> list[dict[str, object]]:
    if effect is None or not math.isfinite(effect.estimate):
        return []
    known = math.isfinite(effect.low) and math.isfinite(effect.high)
    return [{"estimate": effect.estimate, **({"low": effect.low, "high": effect.high} if known else {}), **more}]


def _legend() -> altair.Legend:
    import altair

    return altair.Legend(title=None, orient="top", symbolOpacity=1)


def _drawn(name: str, title: str, chart: altair.TopLevelMixin) -> Drawn:
    return Drawn(Figure(name=name, title=title, caption="", chart=lambda _: chart), chart)
