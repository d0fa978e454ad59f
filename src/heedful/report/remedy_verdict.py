"""What follows from a ladder's numbers, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.report.quantity import count

if TYPE_CHECKING:
    from heedful.core.effect import Effect
    from heedful.core.remedy import HeadLoss, Ladder, Remedy

ALPHA = 0.05
SMALL = "small width"
NAMED = 12
"""Rungs a list of the paragraph names; the table has the others."""


def remedy_verdict(record: Ladder) -> str:
    """The paragraph at the end of the page.

    Args:
        record: The ladder.
    """
    steps = [one for one in record.remedies if one.step is not None]
    wide = [one for one in steps if one.group != SMALL]
    base = {one.name: one for one in record.remedies}
    settled = [one for one in wide if _p(one) <= ALPHA]
    repairs = [one for one in settled if _gain(one).low > 0 and base[_against(one)].misaligned]
    helps = [one for one in settled if _gain(one).low > 0 and one not in repairs]
    hurts = [one for one in settled if _gain(one).high < 0]
    rest = [one for one in wide if one not in (*repairs, *helps, *hurts)]
    told = [
        f"Differences in KL from the rung each changes, nats, with 95 % intervals over {count(record.documents, 'document')}"
        f"; p adjusted for all {len(steps)} changes at once, {ALPHA:.0%}.",
        _list("Helps, largest first", sorted(helps, key=lambda one: -_gain(one).estimate)),
        _list("Undoes what made attention focused and worse than equal weights", repairs),
        _list("Hurts, worst first", sorted(hurts, key=lambda one: _gain(one).estimate)),
        _list("No difference shown", rest),
        _smallest(record.remedies),
        _heads(record.losses),
    ]
    return " ".join(part for part in told if part)


def _gain(one: Remedy) -> Effect:
    if one.step is None:
        raise ValueError(f"{one.name} changes no rung")
    return one.step.gain


def _p(one: Remedy) -> float:
    return one.step.p if one.step is not None else math.nan


def _against(one: Remedy) -> str:
    return one.step.against if one.step is not None else ""


def _list(title: str, found: Sequence[Remedy]) -> str:
    if not found:
        return f"{title}: none."
    named = [
        f"{one.name} after {_against(one)} {_gain(one).estimate:+.3f} [{_gain(one).low:+.3f}, {_gain(one).high:+.3f}]"
        for one in found[:NAMED]
    ]
    left = f", and {len(found) - NAMED} more in the table" if len(found) > NAMED else ""
    return f"{title}: {'; '.join(named)}{left}."


def _smallest(remedies: Sequence[Remedy]) -> str:
    """The best rung of each small width."""
    widths = sorted({int(one.name.rsplit("_", 1)[1]) for one in remedies if one.group == SMALL})
    told = []
    for width in widths:
        own = [one for one in remedies if one.group == SMALL and one.name.endswith(f"_{width}")]
        best, worst = (pick(own, key=lambda one: one.agreement.divergence.estimate) for pick in (min, max))
        told.append(
            f"{width}: {best.name} {best.agreement.divergence.estimate:.3f} (worst {worst.name} "
            f"{worst.agreement.divergence.estimate:.3f})"
        )
    return f"Least KL at small widths: {'; '.join(told)}." if told else ""


def _heads(losses: Sequence[HeadLoss]) -> str:
    above = [one for one in losses if one.p <= ALPHA and one.gain.low > 0]
    named = "; ".join(
        f"{one.name} by {one.gain.estimate:.3f} [{one.gain.low:.3f}, {one.gain.high:.3f}]"
        for one in sorted(above, key=lambda one: -one.gain.estimate)
    )
    return f"Heads alone that know more of the next token than the bigram, nat: {named or 'none'}."
