"""Page that compares attention with the attention that counts predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from heedful.inference.mean_interval import FEWEST_FOR_CLAIM, TOO_FEW
from heedful.ngrams.alignment.page_charts import piece_chart, skill_chart
from heedful.ngrams.alignment.page_unseen import unseen_part
from heedful.reporting.pages.cells import share
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.quantity import count

if TYPE_CHECKING:
    from heedful.inference.effect import Effect
    from heedful.ngrams.alignment.record import Alignment, DrawnPiece, HeadAlignment

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
