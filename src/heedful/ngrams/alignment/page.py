"""Page that compares attention with the attention that counts predict.

Page section on held-out counts, which show whether agreement with the counts is only memorisation.

Charts of an alignment: every head's skill, and an excerpt with expected and actual weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from heedful.inference.mean_interval import FEWEST_FOR_CLAIM, TOO_FEW
from heedful.reporting.drawing import Drawn
from heedful.reporting.escape import visible
from heedful.reporting.figure import DIVERGING, SEQUENTIAL, Figure, chart_of
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.quantity import count, share

if TYPE_CHECKING:
    from heedful.inference.mean_interval import Effect
    from heedful.ngrams.alignment.record import Alignment, DrawnPiece, HeadAlignment, UnseenAgreement


SHOWN = 48
"""Heads listed; the others stand in the JSON document."""

LEVEL = 0.05
"""Of the adjusted p under which a head is said to be beyond both baselines."""

FIGURES = ("skill_by_head", "expected_and_actual")
"""Names of the page's figures."""

COUNTED = {
    "yes": "The text is one that was counted, so that the counts know it by heart.",
    "partly": "PagePart of the text was counted, so that the counts know that part by heart.",
    "unknown": "Whether the text was counted is unknown: none of its files has the checksum of a counted one.",
}
"""What is told of a text by whether it was counted."""


def alignment_page(record: Alignment) -> Page:
    """Build the page of an alignment.

    Args:
        record: What to show.
    """
    parts = [_tables(record), _heads(record), _layers(record)]
    parts += [] if not record.held_out else [unseen_part(record)]
    parts += [] if record.piece is None else [_piece(record.piece)]
    messages = [f"{path}: {why}." for path, why in record.unmet.items()] or [
        "Every attention layer that ran was captured."
    ]
    parts.append(PagePart(title="Not measured", text=" ".join(messages)))
    subject = (
        f"{record.model} compared with {record.counts}: {count(record.documents, 'document')}, "
        f"{count(record.sequences, 'sequence')}. {COUNTED[record.text_was_counted]}"
    )
    return Page(title="Attention compared with counts", subject=subject, parts=parts)


def _beyond(one: HeadAlignment) -> bool:
    return one.p <= LEVEL


def _name(one: HeadAlignment) -> str:
    return f"L{one.layer}H{one.head} n{one.n} s{one.skip}{' *' if _beyond(one) else ''}"


def _tables(record: Alignment) -> PagePart:
    rows = []
    for n, skip, known in record.rows:
        heads = [one for one in record.heads if (one.n, one.skip) == (n, skip)]
        above = sum(_beyond(one) for one in heads)
        first = heads[0]
        rows.append(
            (f"n{n} s{skip}", share(known), f"{first.uniform.estimate:.3f}", f"{first.frequency.estimate:.3f}",
             _signed(first.frequency_skill), f"{above} of {len(heads)}")
        )  # fmt: skip
    beyond = [one for one in record.heads if _beyond(one)]
    message = ", ".join(_name(one).removesuffix(" *") for one in sorted(beyond, key=lambda one: one.p)[:6])
    more = f" and {len(beyond) - 6} more" if len(beyond) > 6 else ""
    verdict = (
        f"Beyond both: {message}{more}."
        if beyond
        else "No head is beyond both: what agrees here is no more than equal weights or the tokens' frequency give."
    )
    return PagePart(
        title="What there is to agree with",
        header=("table", "rows", "KL equal", "KL frequency", "its skill", "beyond both"),
        rows=rows,
        text=(
            "rows: from the second of a sequence on, those whose context was counted and of whose keys one ever "
            "followed it. KL: from what the counts predict to equal weights over the visible keys, and to weights by "
            "how often each key's token was counted, which is all that counts of a long shuffled text would say. "
            "beyond both: heads nearer to the counts than either, by sign flips over documents, adjusted for all heads "
            f"and tables and both comparisons (p at most {LEVEL}). {verdict}"
        ),
    )


def _heads(record: Alignment) -> PagePart:
    heads = sorted(record.heads, key=_order) if len(record.heads) > SHOWN else list(record.heads)
    shown = heads if len(heads) <= SHOWN else [*heads[: SHOWN * 3 // 4], *heads[-(SHOWN // 4) :]]
    rows = [
        (
            _name(one),
            f"{one.divergence.estimate:.3f}",
            _signed(one.skill.estimate),
            _bounds(one.skill),
            f"{one.cosine.estimate:.3f}",
            share(one.match.estimate),
            share(one.chance.estimate),
        )
        for one in shown
    ]
    left = (
        f" Shown are the {SHOWN * 3 // 4} nearest and the {SHOWN // 4} farthest; "
        f"{count(len(heads) - SHOWN, 'more row')} in the JSON document."
        if len(heads) > SHOWN
        else ""
    )
    return PagePart(
        title="Each head",
        header=("head, table", "KL", "skill", "95 %", "cosine", "match", "chance"),
        rows=rows,
        text=(
            "KL: from the attention that the counts predict to the head's own, in nats. Skill is 1 less its quotient "
            "by the KL to equal weights over the visible keys: 1 is exact, 0 no better than those, below 0 worse; "
            "its interval is over documents. Match: rows whose most attended key is among the most expected, copies of "
            f"a token counting alike; chance: keys that would match. *: beyond both baselines.{left} "
            f"{_reading(record.heads)} A head that rests on the first key pays for it here: counts place little there."
        ),
    )


def _order(one: HeadAlignment) -> float:
    return -one.skill.estimate if math.isfinite(one.skill.estimate) else math.inf


def _reading(heads: Sequence[HeadAlignment]) -> str:
    above = [one for one in heads if one.gain.low > 0]
    below = [one for one in heads if one.gain.high < 0]
    best = min(heads, key=_order)
    if not math.isfinite(best.skill.estimate):
        return "Skill is undefined: the counts expect equal weights in every row."
    least = min(one.gain.n for one in heads)
    message = f"{TOO_FEW} for a claim ({least}, {FEWEST_FOR_CLAIM} are needed). "
    if least >= FEWEST_FOR_CLAIM:
        message = f"by 95 % intervals one by one: {len(above)} of {len(heads)}; worse: {len(below)}. "
    return (
        f"Better than equal weights, {message}"
        f"Nearest to its counts: L{best.layer}H{best.head} (n={best.n} s={best.skip}), skill "
        f"{best.skill.estimate:.2f}. Agreement shows where a head attends, not how useful that is."
    )


def _layers(record: Alignment) -> PagePart:
    rows = []
    for layer in sorted({one.layer for one in record.heads}):
        heads = [one for one in record.heads if one.layer == layer]
        best = min(heads, key=_order)
        known = [one.skill.estimate for one in heads if math.isfinite(one.skill.estimate)]
        mean = sum(known) / len(known) if known else math.nan
        rows.append(
            (f"L{layer}", _signed(mean), f"H{best.head} n{best.n} s{best.skip}", _signed(best.skill.estimate),
             str(sum(map(_beyond, heads))))
        )  # fmt: skip
    messages = [one for one in record.heads if math.isfinite(one.skill.estimate)]
    several = len({(one.layer, one.head) for one in messages}) > 1
    return PagePart(
        title="By layer",
        header=("layer", "mean skill", "nearest", "its skill", "beyond both"),
        rows=rows,
        text="Skill: mean over the layer's heads and tables, and of the one nearest to its counts.",
        chart=partial(skill_chart, record) if several else None,
    )


def _piece(piece: DrawnPiece) -> PagePart:
    first = next((row for row in reversed(range(len(piece.expected))) if not math.isnan(piece.expected[row][0])), 0)
    rows = [("expected", _strongest(piece, piece.expected, first), "", "")]
    rows += [
        (f"L{one.layer}H{one.head}", _strongest(piece, one.weights, first), _signed(one.skill), one.why)
        for one in piece.heads
    ]
    return PagePart(
        title="One piece of text",
        header=("weights", "strongest key", "skill", "chosen as"),
        rows=rows,
        text=(
            f"{count(len(piece.tokens), 'token')}, the table n={piece.n} s={piece.skip}. The figure has a panel for "
            "the expected weights and one a head, all on one scale; rows without an expectation are left blank. "
            f"Strongest key: of the query at position {first}, with its weight."
        ),
        chart=partial(piece_chart, piece),
    )


def _strongest(piece: DrawnPiece, weights: Sequence[Sequence[float]], row: int) -> str:
    key = max(range(row + 1), key=lambda at: weights[row][at])
    return f"{key}: {weights[row][key]:.2f}"


def _signed(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:+.2f}" if value > -9.995 else f"{value:+.0f}"


def _bounds(effect: Effect) -> str:
    return f"[{effect.low:+.2f}, {effect.high:+.2f}]" if math.isfinite(effect.low) else TOO_FEW


MOST_UNSEEN = 16
"""Heads listed, those nearest to the counts first."""


def unseen_part(record: Alignment) -> PagePart:
    """Return the section on skill against counts and against held-out counts, on rows that both predict.

    Args:
        record: What to show; it has held-out counts.
    """
    pairs = [(one, one.unseen) for one in record.heads if one.unseen is not None]
    known = [pair for pair in pairs if math.isfinite(pair[1].skill.estimate)]
    title = "Counts of unseen text"
    if not known:
        return PagePart(title=title, text=f"No row has an expectation by both {record.counts} and {record.held_out}.")
    order = sorted(known, key=lambda pair: -pair[1].skill.estimate)
    rows = [
        (
            f"L{one.layer}H{one.head} n{one.n} s{one.skip}",
            share(unseen.rows),
            f"{unseen.skill.estimate:+.2f}",
            f"{unseen.unseen_skill.estimate:+.2f}",
            f"{unseen.memory.estimate:+.3f}",
            f"[{unseen.memory.low:+.3f}, {unseen.memory.high:+.3f}]" if math.isfinite(unseen.memory.low) else TOO_FEW,
        )
        for one, unseen in order[:MOST_UNSEEN]
    ]
    own, other = (f"{size:,}" if size else "an unknown number of" for size in record.counted_tokens)
    return PagePart(
        title=title,
        header=("head, table", "rows", "skill", "unseen", "less", "95 %"),
        rows=rows,
        text=(
            f"{record.held_out} ({other} tokens) beside {record.counts} ({own} tokens), on the rows for which both "
            f"have an expectation. {_memory(*order[0])} Counts of fewer tokens are noisier, which lowers the skill by "
            f"them too.{_left(len(order) - MOST_UNSEEN)}"
        ),
    )


def _memory(one: HeadAlignment, unseen: UnseenAgreement) -> str:
    """How much of the nearest head's agreement is memory of the counted text."""
    name, skill, memory = f"L{one.layer}H{one.head} (n={one.n} s={one.skip})", unseen.skill.estimate, unseen.memory
    if skill <= 0:
        return f"The nearest head, {name}, does not agree with either: there is no memory to speak of."
    part = memory.estimate / skill
    if memory.low > 0:
        return (
            f"Of the agreement of {name}, {part:.1%} (skill {skill:.3f} less {unseen.unseen_skill.estimate:.3f}) is "
            "memory of the counted text: counts of unseen text do not confirm it."
        )
    if memory.high < 0:
        return f"{name} agrees with counts of unseen text no less: none of its agreement is memory of the counted text."
    if math.isnan(memory.low):
        return f"How much of the agreement of {name} is memorisation is unknown: {TOO_FEW}."
    return (
        f"Of the agreement of {name}, {max(part, 0.0):.1%} may be memory of the counted text; the interval of the "
        "difference holds 0."
    )


def _left(more: int) -> str:
    return f" {more} more in the JSON document." if more > 0 else ""


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
