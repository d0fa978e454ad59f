"""The page on attention beside what counts predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.report.pages.cells import share
from heedful.report.pages.part import Page, Part
from heedful.report.quantity import count

if TYPE_CHECKING:
    from heedful.core.alignment import Alignment, HeadAlignment
    from heedful.core.effect import Effect

SHOWN = 48
"""Heads listed; the others stand in the JSON document."""


def alignment_page(record: Alignment) -> Page:
    """The page, top to bottom.

    Args:
        record: What to show.
    """
    parts = [_heads(record), _limits(record)]
    subject = (
        f"{record.model} beside {record.counts}: {count(record.documents, 'document')}, "
        f"{count(record.sequences, 'sequence')}. Counts say what {record.rows:.0%} of the rows should attend to; the "
        "others, and the first row of each sequence, are left out."
    )
    return Page(title="Attention beside counts", subject=subject, parts=parts)


def _heads(record: Alignment) -> Part:
    shown = record.heads[:SHOWN]
    rows = [
        (
            f"L{one.layer}H{one.head} n{one.n} s{one.skip}",
            f"{one.divergence.estimate:.3f}",
            f"{one.skill.estimate:+.2f}",
            _bounds(one.skill),
            f"{one.cosine.estimate:.3f}",
            share(one.match.estimate),
            share(one.chance.estimate),
        )
        for one in shown
    ]
    left = f" {count(len(record.heads) - SHOWN, 'more row')} in the JSON document." if len(record.heads) > SHOWN else ""
    return Part(
        title="Each head",
        header=("head, table", "KL", "skill", "95 %", "cosine", "match", "chance"),
        rows=rows,
        text=(
            "KL: from the attention that the counts predict to the head's own, in nats. Skill is 1 less its quotient "
            "by the KL to equal weights over the visible keys: 1 is exact, 0 no better than those, below 0 worse; "
            "its interval is over documents. Match: rows whose most attended key is among the most expected, copies of "
            f"a token counting alike; chance: keys that would match.{left} {_reading(record.heads)}"
        ),
    )


def _reading(heads: Sequence[HeadAlignment]) -> str:
    above = [one for one in heads if one.gain.low > 0]
    below = [one for one in heads if one.gain.high < 0]
    best = max(heads, key=lambda one: one.skill.estimate)
    return (
        f"Better than equal weights, by 95 % intervals one by one: {len(above)} of {len(heads)}; worse: {len(below)}. "
        f"Nearest to its counts: L{best.layer}H{best.head} (n={best.n} s={best.skip}), skill "
        f"{best.skill.estimate:.2f}. Agreement tells where a head looks, not what that is worth."
    )


def _bounds(effect: Effect) -> str:
    return f"[{effect.low:+.2f}, {effect.high:+.2f}]"


def _limits(record: Alignment) -> Part:
    told = [f"{path}: {why}." for path, why in record.unmet.items()] or ["Every attention layer that ran was met."]
    return Part(title="Not measured", text=" ".join(told))
