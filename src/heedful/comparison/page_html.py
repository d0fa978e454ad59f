"""Render a comparison as one HTML page without scripts or external files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from heedful.comparison.page_lines import head_name, head_words, numbers, outcome, significant, subject
from heedful.reporting.escape import visible
from heedful.reporting.quantity import count
from heedful.reporting.sealed_page import sealed_page, setting_rows

if TYPE_CHECKING:
    from heedful.comparison.record import Comparison, FindingChange, HeadChange

STATISTICS = ("effective_keys", "sink_mass", "previous_mass")


def comparison_html(comparison: Comparison) -> str:
    """Return the comparison as one HTML page.

    Every text of the reports is escaped, control characters are shown, and the content security policy allows the one
    style sheet by its digest and nothing else.

    Args:
        comparison: What to show.
    """
    verdict, word = outcome(comparison)
    return sealed_page(
        "comparison",
        verdict=verdict,
        word=word,
        names=[visible(name) for name in comparison.names],
        verdicts=comparison.verdicts,
        pairing=visible(comparison.pairing),
        rules=", ".join(comparison.fail_on),
        regressions=[visible(message) for message in comparison.regressions],
        context=[[visible(text) for text in row] for row in comparison.context],
        findings=[_finding(one) for one in comparison.findings],
        heads_line=_heads_line(comparison),
        statistics=[f"change of {name.replace('_', ' ')}" for name in STATISTICS],
        heads=[_head(head) for head in comparison.heads],
        settings=[(visible(name), visible(value)) for name, value in setting_rows(comparison.settings)],
    )


def _finding(one: FindingChange) -> dict[str, Any]:
    before, after = one.verdicts
    return {
        "subject": visible(subject(one)),
        "verdict": after,
        "verdicts": after if before == after else f"{before} -> {after}",
        "numbers": visible("; ".join(numbers(one))),
        "reason": visible(one.after.reason) if one.changed and one.after is not None else "",
        "marked": one.changed or significant(one),
    }


def _head(head: HeadChange) -> dict[str, Any]:
    known = [head.differences.get(name, math.nan) for name in STATISTICS]
    return {
        "name": visible(head_name(head)),
        "module": visible(head.module),
        "words": visible(
            head_words(head) if head.changed else " ".join(filter(None, (head.verdicts[1], head.patterns[1])))
        ),
        "numbers": [f"{value:+.3g}" if math.isfinite(value) else "-" for value in known],
    }


def _heads_line(comparison: Comparison) -> str:
    changed = sum(head.changed for head in comparison.heads)
    message = f"{count(len(comparison.heads), 'head')} in both reports, {changed} with another verdict or pattern."
    return visible(f"{message} {comparison.heads_reason}".strip())
