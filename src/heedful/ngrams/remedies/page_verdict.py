"""Write the conclusions from a suite's numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.inference.mean_interval import FEWEST_FOR_CLAIM, TOO_FEW
from heedful.reporting.quantity import count

if TYPE_CHECKING:
    from heedful.inference.effect import Effect
    from heedful.ngrams.remedies.record import AblationSuite, HeadLoss, Remedy, Step

ALPHA = 0.05
SLIGHT = 0.005
"""Change in nats under which a variant neither helps nor hurts to speak of."""

SMALL, MODELS = "small width", "models"
"""Groups that have a paragraph of their own."""

NAMED = 24
"""Variants a list names; the table has the others."""


def settled(step: Step | HeadLoss) -> bool:
    """Return whether a change is significant, adjusted for all changes in its table."""
    return step.gain.n >= FEWEST_FOR_CLAIM and step.p <= ALPHA and (step.gain.low > 0 or step.gain.high < 0)


def remedy_verdict(record: AblationSuite) -> list[tuple[str, str]]:
    """Return (title, paragraph) pairs that conclude the page: what helps, hurts or makes no difference.

    Args:
        record: The suite.
    """
    steps = [(one, one.step) for one in record.remedies if one.step is not None]
    known = {one.name: one for one in record.remedies}
    changes = [(one, step) for one, step in steps if one.group not in (SMALL, MODELS)]
    messages = [(one, step) for one, step in changes if settled(step)]
    large = [(one, step) for one, step in messages if abs(step.gain.estimate) >= SLIGHT]
    helps = [pair for pair in large if pair[1].gain.estimate > 0 and not known[pair[1].against].misaligned]
    repairs = [pair for pair in large if pair[1].gain.estimate > 0 and known[pair[1].against].misaligned]
    hurts = [pair for pair in large if pair[1].gain.estimate < 0]
    chosen = {one.name for one, _ in large}
    rest = [one.name for one, _ in changes if one.name not in chosen]
    footing = (
        f"Less KL than the variant that each changes, nat, over {count(record.documents, 'document')}, largest first; "
        f"settled at {ALPHA:.0%} for all {len(steps)} changes together. "
    )
    undone = f" Undoes what was focused on the wrong keys: {_list(repairs)}." if repairs else ""
    return [
        ("Verdict: helps", f"{footing}{_list(sorted(helps, key=lambda pair: -pair[1].gain.estimate))}.{undone}"),
        ("Verdict: hurts", f"{_list(sorted(hurts, key=lambda pair: pair[1].gain.estimate))}."),
        ("Verdict: neither", f"Not settled, or by less than {SLIGHT:g} nat: {', '.join(rest) or 'none'}."),
    ]


def _list(found: Sequence[tuple[Remedy, Step]]) -> str:
    named = [f"{one.name} {number(step.gain.estimate)} {bounds(step.gain)}" for one, step in found[:NAMED]]
    left = f", {len(found) - NAMED} more in the table" if len(found) > NAMED else ""
    return f"{', '.join(named) or 'none'}{left}"


def number(value: float) -> str:
    """Format a change in nats, with its sign."""
    if abs(value) >= 1e4:
        return f"{value:+.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:+.3f}" if abs(value) < 9.9995 else f"{value:+.1f}"


def bounds(effect: Effect) -> str:
    """Format the interval of a change."""
    return TOO_FEW if math.isnan(effect.low) else f"[{number(effect.low)}, {number(effect.high)}]"


def small_widths(record: AblationSuite) -> str:
    """Name the best and the worst variant of each small width."""
    own = [one for one in record.remedies if one.group == SMALL]
    messages = []
    for width in sorted({int(one.name.rsplit("_", 1)[1]) for one in own}):
        same = sorted(
            (one for one in own if one.name.endswith(f"_{width}")), key=lambda one: one.agreement.divergence.estimate
        )
        messages.append(
            f"{width}: {same[0].name} ({same[0].agreement.divergence.estimate:.3f}), worst {same[-1].name} "
            f"({same[-1].agreement.divergence.estimate:.3f})"
        )
    return f"Least KL at each width: {'; '.join(messages)}." if messages else ""


def heads_alone(record: AblationSuite) -> str:
    """List the single heads that predict the next token better than the bigram, and those that are worse."""

    def named(better: bool) -> str:
        messages = [one for one in record.losses if settled(one) and abs(one.gain.estimate) >= SLIGHT]
        found = [one for one in messages if (one.gain.estimate > 0) is better]
        found.sort(key=lambda one: -one.gain.estimate)
        return ", ".join(f"{one.name} {number(one.gain.estimate)}" for one in found) or "none"

    return f"By {SLIGHT:g} nat or more better than the bigram: {named(True)}. Worse: {named(False)}."
