"""Page section on held-out counts, which show whether agreement with the counts is only memorisation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from heedful.inference.mean_interval import TOO_FEW
from heedful.reporting.pages.cells import share
from heedful.reporting.pages.part import PagePart

if TYPE_CHECKING:
    from heedful.ngrams.alignment.record import Alignment, HeadAlignment, UnseenAgreement

SHOWN = 16
"""Heads listed, those nearest to the counts first."""


def unseen_part(record: Alignment) -> PagePart:
    """Return the section that compares skill against counts and held-out counts, on rows that both predict.

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
        for one, unseen in order[:SHOWN]
    ]
    own, other = (f"{size:,}" if size else "an unknown number of" for size in record.counted_tokens)
    return PagePart(
        title=title,
        header=("head, table", "rows", "skill", "unseen", "less", "95 %"),
        rows=rows,
        text=(
            f"{record.held_out} ({other} tokens) beside {record.counts} ({own} tokens), on the rows for which both "
            f"have an expectation. {_memory(*order[0])} Counts of fewer tokens are noisier, which lowers the skill by "
            f"them too.{_left(len(order) - SHOWN)}"
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
