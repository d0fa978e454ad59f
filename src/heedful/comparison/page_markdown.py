"""Render a comparison as Markdown for a CI job summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heedful.comparison.page_lines import head_name, head_words, outcome, significant, subject
from heedful.comparison.record import DEFINITION_CHANGED
from heedful.evaluation.page.markdown import MARKDOWN_HEAD, cell, emoji, folded, table
from heedful.reporting.quantity import interval, number, probability

if TYPE_CHECKING:
    from heedful.comparison.record import Comparison, FindingChange


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as GitHub-flavoured Markdown; unchanged claims are collapsed.

    Args:
        comparison: What to show.
    """
    verdict, word = outcome(comparison)
    first, second = (cell(name) for name in comparison.names)
    lines = [
        MARKDOWN_HEAD,
        f"## {emoji(verdict)} Attention compared: {word.lower()}",
        "",
        f"{first} ({comparison.verdicts[0]}) then {second} ({comparison.verdicts[1]}); {cell(comparison.pairing)}.",
        *(
            ["", *(f"- **regression** {cell(message)}" for message in comparison.regressions)]
            if comparison.regressions
            else []
        ),
    ]
    moved = [one for one in comparison.findings if one.changed or (significant(one) and one.layer is None)]
    if moved:
        heading = ("", "claim", "verdict", "first", "second", "difference", "95% interval", "")
        lines += ["", *table(heading, (_row(one) for one in moved))]
    else:
        lines += ["", "No verdict changed and no difference is more than chance."]
    changed = [f"{cell(head_name(head))}: {cell(head_words(head))}" for head in comparison.heads if head.changed]
    differing = [f"{cell(what)}: {cell(one)} to {cell(two)}" for what, one, two in comparison.context]
    lines += [*folded("Heads that changed", changed), *folded("What differs besides the results", differing)]
    return "\n".join(lines) + "\n"


def _row(one: FindingChange) -> tuple[str, ...]:
    before, after = one.verdicts
    estimates = ["" if found is None else cell(number(found.estimate)) for found in (one.before, one.after)]
    difference = "" if one.difference is None else cell(f"{number(one.difference)} {one.unit}".strip())
    bounds = "" if one.interval is None else cell(interval(one.interval).removeprefix("95% "))
    sure = "" if one.p_adjusted is None else cell(probability("adjusted p", one.p_adjusted))
    paired = "paired" if one.paired else "not paired" if one.interval is not None else ""
    message = after if before == after else f"{before} to {after}"
    message = f"{message} ({DEFINITION_CHANGED.lower()})" if one.redefined else message
    return (
        emoji(after),
        cell(subject(one)),
        message,
        *estimates,
        difference,
        bounds,
        ", ".join(part for part in (sure, paired) if part),
    )
