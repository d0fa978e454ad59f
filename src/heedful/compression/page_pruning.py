"""Page on the cost of removing layers, heads and dimensions.

Charts for the page on removing attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from heedful.reporting.drawing import Drawn
from heedful.reporting.figure import BLUE, HEIGHT, ORANGE, WIDTH, Figure, chart_of
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.quantity import NONE, bounds, change, correlation, count, p_value, share, small

if TYPE_CHECKING:
    import altair

    from heedful.compression.record import Curve, Pruning, Saving, UnitCost


QUARTER = 0.25
"""Share at which the verdict is spoken, or the nearest that was measured."""

SHOWN = 12
"""Layers or heads listed; the others stand in the JSON document."""

NAMES = {"layers": "attention of whole layers", "heads": "heads", "dimensions": "key dimensions, jointly in q and k"}
RANDOM = "random"
BY = {"effective rank": "lowest effective rank first", "centred cosine": "highest centred cosine first"}


def pruning_page(record: Pruning) -> Page:
    """Build the page of a pruning measurement.

    Args:
        record: What to show.
    """
    parts: list[PagePart | None] = [_verdicts(record), _labels(record)]
    for name in dict.fromkeys(curve.part for curve in record.curves):
        parts.append(_curves(record, name))
    parts += [_units(record, "layers"), _units(record, "heads"), _correlations(record), _limits(record)]
    return Page(title="What attention can be left out", subject=_subject(record), parts=[p for p in parts if p])


def _subject(record: Pruning) -> str:
    model, data = record.model, record.data
    return (
        f"{model['name']}: {model['class']}, {count(model['layers'], 'attention layer')}, "
        f"{count(model['heads'], 'head')}, {model['dtype']} on {model['device']}. "
        f"{count(data['documents'], 'document')}, {count(data['sequences'], 'sequence')} of {data['sequence_length']} "
        f"tokens ({data['origin']}): {data['documents_that_rank']} choose the order, "
        f"the other {data['documents_that_price']} measure its cost, so that no order is judged by its own text."
    )


def _verdicts(record: Pruning) -> PagePart | None:
    if not record.savings:
        return None
    spoken = [one for one in record.savings if one.fraction == _nearest(record.savings, one.part)]
    rows = [
        (f"{one.part}, {one.ranking}", f"{one.fraction:.0%}", change(one.saved), bounds(one.saved), p_value(one.p))
        for one in spoken
    ]
    text = (
        f"Saved: loss in random order (mean of {record.settings['orders']}) less loss in this order, nats per token; "
        "its interval holds what other documents and other random orders would give. p: share of orders that cost as "
        "little, which an order that knows nothing reaches by luck. yes: the interval is above 0 and p at most .05. "
    )
    return PagePart(
        title="Does the ranking save anything?",
        header=("left out", "share", "saved", "95 %", "p"),
        rows=rows,
        text=f"{text}{_sentence(spoken)} {_others(spoken)}".strip(),
    )


def _nearest(savings: Sequence[Saving], part: str) -> float:
    """The share of a part nearest to a quarter."""
    return min((one.fraction for one in savings if one.part == part), key=lambda fraction: abs(fraction - QUARTER))


def _sentence(savings: Sequence[Saving]) -> str:
    """The verdict on redundancy, in one sentence a part and ranking."""
    messages = []
    for one in savings:
        if one.ranking in BY:
            messages.append(
                f"Pruning {one.part} by redundancy ({BY[one.ranking]}) costs less than random order by "
                f"{change(one.saved)} {bounds(one.saved)} nat/token at {one.fraction:.0%}: {one.answer}."
            )
    return " ".join(messages)


def _others(savings: Sequence[Saving]) -> str:
    """The answers on the other rankings."""
    messages = [f"{one.part} by {one.ranking}: {one.answer}" for one in savings if one.ranking not in BY]
    return f"{'; '.join(messages).capitalize()}." if messages else ""


def _labels(record: Pruning) -> PagePart | None:
    labels = record.labels
    if labels is None:
        return None
    rows = [
        (
            name,
            f"{effect.estimate:.4f}",
            f"[{effect.low:.4f}, {effect.high:.4f}]" if math.isfinite(effect.low) else NONE,
        )
        for name, effect in (
            ("the right ones", labels.right),
            ("tokens fed", labels.fed),
            ("shuffled", labels.shuffled),
        )
    ]
    message = {
        "yes": "The right labels have the least loss, by whole intervals.",
        "no": "Wrong labels have less loss than the right ones: no cost in this report means anything.",
        "not settled": "Not settled whether the right labels have the least loss: costs may mean nothing.",
    }.get(labels.answer, "Too few documents to tell.")
    objective = record.data["objective"]
    return PagePart(
        title=f"Are the labels right? ({objective})",
        header=("labels", "loss", "95 %"),
        rows=rows,
        text=f"{message} Unshifted labels would ask for the tokens that were fed, which a copying head can predict.",
    )


def _curves(record: Pruning, name: str) -> PagePart:
    curves = [curve for curve in record.curves if curve.part == name]
    judged = any(point.loss is not None for curve in curves for point in curve.points)
    rows = [row for curve in curves for row in (_judged_rows(curve) if judged else _local_rows(curve))]
    local = [point for curve in curves for point in curve.points if point.divergence is not None]
    units = curves[0].units
    each = " in each key head, all alike" if name == "dimensions" else ""
    message = f"{count(units, 'unit')}{each}. "
    if judged:
        message += (
            "Loss: rise in nats per token with its 95 % interval over documents; 'shuffled': rise of the loss by "
        )
        message += "shuffled labels, which falls where a model merely becomes less sure of anything. "
        spread = _spread(curves)
        message += f"Random order from order to order: {spread}." if spread else ""
    if name == "dimensions":
        message += " Components that rotate together go together. contribution: mean square of the queries times "
        message += "variance of the keys, lowest first; gain product, where norms have gains: |gain of q x gain of k|."
        if local and judged:
            message += " KL of the rows, each layer alone: " + _divergences(curves)
    header = ("left out by", "share", "units", "loss", "95 %", "shuffled")
    return PagePart(
        title=f"Leaving out {NAMES[name]}",
        header=header if judged else ("left out by", "share", "units", "KL", "output"),
        rows=rows,
        text=message.strip(),
        chart=partial(curve_chart, name, curves) if judged else None,
    )


def _judged_rows(curve: Curve) -> list[tuple[str, ...]]:
    return [
        (
            curve.ranking,
            f"{point.fraction:.0%}",
            str(point.removed),
            change(point.loss),
            bounds(point.loss),
            change(point.shuffled),
        )
        for point in curve.points
    ]


def _local_rows(curve: Curve) -> list[tuple[str, ...]]:
    return [
        (
            curve.ranking,
            f"{point.fraction:.0%}",
            str(point.removed),
            NONE if point.divergence is None else small(point.divergence.estimate),
            NONE if point.error is None else share(point.error.estimate),
        )
        for point in curve.points
    ]


def _spread(curves: Sequence[Curve]) -> str:
    random = next((curve for curve in curves if curve.ranking == RANDOM), None)
    if random is None:
        return ""
    return ", ".join(
        f"{point.fraction:.0%} {min(point.orders):+.3f} to {max(point.orders):+.3f}"
        for point in random.points
        if point.orders
    )


def _divergences(curves: Sequence[Curve]) -> str:
    messages = []
    for curve in curves:
        values = [small(point.divergence.estimate) for point in curve.points if point.divergence is not None]
        messages.append(f"{curve.ranking} {', '.join(values)}")
    return "; ".join(messages) + "."


def _units(record: Pruning, part: str) -> PagePart | None:
    known = [unit for unit in record.units if unit.part == part and unit.price is not None]
    if not known:
        return None
    cheapest = sorted(known, key=_loss_increase)
    shown = cheapest if len(cheapest) <= SHOWN else [*cheapest[: SHOWN // 2], *cheapest[-SHOWN // 2 :]]
    rows = [
        (
            f"L{unit.layer}" if unit.head is None else f"L{unit.layer}H{unit.head}",
            change(unit.price),
            bounds(unit.price),
            f"{unit.effective_rank.estimate:.1f}",
            correlation(unit.centred_cosine.estimate),
        )
        for unit in shown
    ]
    more = len(known) - len(shown)
    message = f"The cheapest and the dearest; {more} more stand in the JSON document. " if more else "Cheapest first. "
    message += (
        "Rank: participation ratio of the covariance of the keys it reads, sequence by sequence; cosine: of two keys "
    )
    message += "about their mean. Measured on the documents that rank."
    return PagePart(
        title=f"{part.capitalize()}, each alone",
        header=("without", "loss", "95 %", "rank", "cosine"),
        rows=rows,
        text=message,
    )


def _loss_increase(unit: UnitCost) -> float:
    value = math.nan if unit.price is None else unit.price.estimate
    return value if math.isfinite(value) else math.inf


def _correlations(record: Pruning) -> PagePart | None:
    if not record.correlations:
        return None
    rows = [
        (
            f"{one.x.replace('_', ' ')} with price",
            f"{one.items} {one.under}",
            correlation(one.estimate),
            f"[{correlation(one.low)}, {correlation(one.high)}]" if math.isfinite(one.low) else NONE,
            p_value(one.p),
        )
        for one in record.correlations
    ]
    message = "If redundant keys were cheap to remove, cost would grow with effective rank and fall with the cosine. "
    message += (
        "The interval is over documents for these very layers or heads; none is given where there are fewer than 8 or "
    )
    message += "costs are too noisy to tell them apart. p asks whether unrelated ones would show as much (Holm)."
    return PagePart(
        title="Does redundancy predict the cost?",
        header=("rank correlation of", "over", "rank", "95 %", "p"),
        rows=rows,
        text=message,
    )


def _limits(record: Pruning) -> PagePart:
    messages = [
        "Nothing is trained again after it is left out: these are prices before any repair. What is left out is set to "
        "0, which a model has never seen; biases of output projections stay. Effective rank and cosine are of keys "
        "after their rotation, as attention reads them. Intervals and answers are one by one."
    ]
    messages += [f"Not measured: {one['what']}: {one['why']}." for one in list(record.not_measured)[:8]]
    if len(record.not_measured) > 8:
        messages.append(f"And {len(record.not_measured) - 8} more, in the JSON document.")
    messages += [f"Note: {note}." for note in record.model["notes"]]
    return PagePart(title="What this does not show", text=" ".join(messages))


GREEN, GREY = "#3c8f5a", "#8a8f98"
COLOURS = (ORANGE, BLUE, GREEN)
DASHES = ([1, 0], [6, 3], [2, 2])


def curve_chart(part: str, curves: Sequence[Curve]) -> Drawn:
    """Draw loss increase over fraction removed, with intervals, one line per ranking, random order in grey.

    Args:
        part: What is left out.
        curves: Its curves, with losses.
    """
    import altair

    rows: list[dict[str, Any]] = []
    for curve in curves:
        for point in curve.points:
            loss = point.loss
            if loss is not None and math.isfinite(loss.estimate):
                known = math.isfinite(loss.low) and math.isfinite(loss.high)
                bounds = {"low": loss.low, "high": loss.high} if known else {}
                rows.append({"name": curve.ranking, "share": point.fraction, "value": loss.estimate, **bounds})
    others = [curve.ranking for curve in curves if curve.ranking != RANDOM]
    names = [*others, RANDOM]
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(others))]
    colour = altair.Color(
        "name:N", sort=names, scale=altair.Scale(domain=names, range=[*colours, GREY]), legend=_legend()
    )
    dashes = [DASHES[place % len(DASHES)] for place in range(len(others))]
    dash = altair.StrokeDash(
        "name:N", sort=names, scale=altair.Scale(domain=names, range=[*dashes, [1, 3]]), legend=_legend()
    )
    x = altair.X("share:Q", title=f"share of the {part} left out", axis=altair.Axis(format="%", grid=False))
    y = altair.Y("value:Q", title="rise of the loss, nat/token")
    base = chart_of(rows)
    made = altair.layer(
        base.mark_area(opacity=0.13).encode(x=x, y=altair.Y("low:Q", title=""), y2="high:Q", color=colour),
        base.mark_line(point=True, strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash),
    ).properties(width=WIDTH, height=HEIGHT)
    figure = Figure[object](name=f"pruning_{part}", title=f"Leaving out {part}", caption="", chart=lambda _: made)
    return Drawn(figure, made)


def _legend() -> altair.Legend:
    import altair

    return altair.Legend(title=None, orient="top", symbolOpacity=1)
