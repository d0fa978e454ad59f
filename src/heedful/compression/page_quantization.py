"""Build the page on keys quantized to few bits: how much attention weights, head outputs and the loss change.

Charts for the page on keys in few bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from heedful.reporting.drawing import Drawn
from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, WIDTH, Figure, chart_of, layer_axis
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.quantity import WORDS, bounds, change, correlation, count, p_value, share, small

if TYPE_CHECKING:
    import altair

    from heedful.compression.record import HeadDamage, Quantization, Trial
    from heedful.inference.mean_interval import Effect


SHOWN = 48
"""Layers listed; the others stand in the JSON document."""

STAGES = {
    "after": "after their rotation, as they are cached",
    "before": "before their rotation (rotated again once rounded)",
}
ALPHA = 0.05


def quantization_page(record: Quantization) -> Page:
    """Build the page of a quantization measurement.

    Args:
        record: What to show.
    """
    parts = [_costs(record), _structure(record), _layers(record), _tails(record), _limits(record)]
    return Page(title="Keys in few bits", subject=_subject(record), parts=[part for part in parts if part is not None])


def _subject(record: Quantization) -> str:
    model, data = record.model, record.data
    messages = [
        f"{model['name']}: {model['class']}, {count(model['layers'], 'attention layer')}, "
        f"{count(model['heads'], 'head')}, {model['dtype']} on {model['device']}. "
        f"{count(data['documents'], 'document')}, "
        f"{count(data['sequences'], 'sequence')} of {data['sequence_length']} tokens ({data['origin']}).",
        f"Keys are rounded {STAGES[record.stage]}, to evenly spaced levels from the smallest to the largest "
        "component of a group (asymmetric min-max); scales are those of the whole sequence that is measured, "
        "later keys included.",
    ]
    if record.loss is not None and record.recomputed is not None:
        messages.append(
            f"Loss of the model as it is: {record.loss.estimate:.4f} nat/token [{record.loss.low:.4f}, "
            f"{record.loss.high:.4f}] ({data['objective']}); with attention recomputed from unchanged keys "
            f"{record.recomputed.estimate:+.1e}, and every change is counted from there."
        )
    return " ".join(messages)


def _costs(record: Quantization) -> PagePart:
    rows = [
        (
            trial.name,
            small(trial.quantized.divergence.estimate),
            share(trial.quantized.error.estimate),
            change(trial.quantized.loss),
            bounds(trial.quantized.loss),
        )
        for trial in record.trials
    ]
    message = (
        "KL: from each query's weights to those with the rounded keys, in nats, each layer alone; output: change of a "
    )
    message += (
        "head's output over its norm; loss: nats per token with all layers rounded at once, with its 95 % interval "
    )
    message += f"over documents, one by one. {_by_verdict(record)}"
    chart = partial(loss_chart, record) if record.loss is not None else None
    return PagePart(
        title="What each quantizer costs",
        header=("keys stored as", "KL", "output", "loss", "95 %"),
        rows=rows,
        text=message,
        chart=chart,
    )


def _by_verdict(record: Quantization) -> str:
    margin = float(record.settings["margin"])
    named = {
        verdict: [trial.name for trial in record.trials if trial.verdict == verdict]
        for verdict in dict.fromkeys(trial.verdict for trial in record.trials)
    }
    message = "; ".join(f"{WORDS.get(verdict, verdict)}: {', '.join(names)}" for verdict, names in named.items())
    return f"At a margin of {margin:g} nat/token: {message}."


def _structure(record: Quantization) -> PagePart:
    rows = [
        (
            trial.name,
            small(trial.noise.divergence.estimate),
            change(trial.noise.loss),
            change(trial.structure),
            bounds(trial.structure),
        )
        for trial in record.trials
    ]
    sharper = [trial.name for trial in record.trials if trial.structure is not None and trial.structure.low > 0]
    milder = [trial.name for trial in record.trials if trial.structure is not None and trial.structure.high < 0]
    message = (
        "The control is Gaussian noise of the same root mean square in each sequence and key head; the difference is "
    )
    message += "the loss with the quantizer less that with the noise. "
    if record.loss is None:
        message += "Without a loss only the divergences can be compared."
    else:
        message += f"Above 0, the error's structure costs beyond its size: {', '.join(sharper) or 'none'}. "
        message += f"Below 0: {', '.join(milder) or 'none'}. For the others, these documents cannot tell the two apart."
    return PagePart(
        title="Its size or its structure?",
        header=("noise in place of", "KL", "loss", "beyond", "95 %"),
        rows=rows,
        text=message,
    )


def _layers(record: Quantization) -> PagePart:
    trial, rows = shown_trial(record), []
    layers = sorted({head.layer for head in trial.heads})
    for layer in layers[:SHOWN]:
        heads = [head for head in trial.heads if head.layer == layer]
        shapes = [one for one in record.tails if one.layer == layer]
        worst = max(heads, key=_divergence)
        rows.append(
            (
                str(layer),
                small(_mean([head.divergence.estimate for head in heads])),
                share(_mean([head.error.estimate for head in heads])),
                f"{_mean([one.kurtosis.estimate for one in shapes]):.1f}",
                f"{_mean([one.crest.estimate for one in shapes]):.1f}",
                f"H{worst.head} {small(worst.divergence.estimate)}",
            )
        )
    message = f"{len(layers) - SHOWN} further layers stand in the JSON document. " if len(layers) > SHOWN else ""
    most = sorted(trial.heads, key=_divergence, reverse=True)[:5]
    message += "Most moved heads: " + ", ".join(
        f"L{head.layer}H{head.head} {small(head.divergence.estimate)} [{small(head.divergence.low)}, "
        f"{small(head.divergence.high)}]"
        for head in most
    )
    message += ". Kurtosis of a Gaussian is 3; the crest factor is the largest component over the root mean square."
    return PagePart(
        title=f"Layer by layer, {trial.name}",
        header=("layer", "KL", "output", "kurtosis", "crest", "most moved"),
        rows=rows,
        text=message,
        chart=partial(layer_chart, record),
    )


def _tails(record: Quantization) -> PagePart:
    bits = shown_trial(record).bits
    wanted = {trial.name for trial in record.trials if trial.bits == bits and trial.clip is None}
    clipped = [trial.name for trial in record.trials if trial.bits is None]
    shown = [one for one in record.correlations if one.under in (*wanted, *clipped[-1:])]
    rows = [
        (
            one.under,
            one.x,
            {"divergence": "KL", "error": "output"}[one.y],
            correlation(one.estimate),
            f"[{correlation(one.low)}, {correlation(one.high)}]" if math.isfinite(one.low) else "-",
            p_value(one.p),
        )
        for one in shown
    ]
    items = shown[0].items if shown else 0
    settled = [one for one in record.correlations if one.p <= ALPHA]
    message = (
        f"Rank correlation over {count(items, 'key head')}. The interval is over documents for these heads; p asks "
    )
    message += "whether unrelated heads would show as much, and is Holm over all "
    message += f"{count(len(record.correlations), 'correlation')} of this run. "
    message += (
        f"Beyond chance: {len(settled)}, {sum(one.estimate > 0 for one in settled)} of them positive (heavier tails, "
        "more damage)."
        if settled
        else "None is beyond chance: these heads do not show that heavy tails predict the damage."
    )
    return PagePart(
        title="Do heavy tails predict the damage?",
        header=("under", "tails", "damage", "rank", "95 %", "p"),
        rows=rows,
        text=message,
    )


def _limits(record: Quantization) -> PagePart:
    messages = [
        "Values are left as they are, and so are weights. A scale of a whole sequence knows keys that a cache has not "
        "seen yet, so that per tensor and per channel are best cases; per token is as a cache would have it. KL and "
        "output are of rows that see at least 8 keys, each layer alone; the loss is of these documents at this length, "
        "where every key is rounded, the newest too. Intervals are one by one, not adjusted over quantizers."
    ]
    messages += [f"Not measured: {one['what']}: {one['why']}." for one in list(record.not_measured)[:8]]
    if len(record.not_measured) > 8:
        messages.append(f"And {len(record.not_measured) - 8} more, in the JSON document.")
    messages += [f"Note: {note}." for note in record.model["notes"]]
    return PagePart(title="What this does not show", text=" ".join(messages))


def _divergence(head: HeadDamage) -> float:
    value = head.divergence.estimate
    return value if math.isfinite(value) else -1.0


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


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
    """Return the quantizer to show in detail: if possible without clipping, with 4 bits and one scale a tensor."""
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
