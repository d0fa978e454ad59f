"""Render a comparison for the terminal: verdicts, differences with intervals, heads, regressions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TextIO

from heedful.comparison.record import DEFINITION_CHANGED
from heedful.evaluation.page.summary_lines import INDENT
from heedful.reporting.marks import ellipsis, mark, style
from heedful.reporting.paragraph import BLANK, Line, Sheet, aligned, cells, flow, line, paragraph, plain, sheet
from heedful.reporting.quantity import count, interval, number, probability

if TYPE_CHECKING:
    from heedful.comparison.record import Comparison, FindingChange, HeadChange

TITLE = "ATTENTION COMPARISON"
SHOWN = 24
"""Layers or heads listed; the others stand in the JSON document."""
LARGEST = 3
"""Heads named for the largest changes of one statistic."""
ALPHA = 0.05
_NAMED = ("effective_keys", "sink_mass", "previous_mass")
_LABEL = 10


def comparison_lines(comparison: Comparison, page: Sheet) -> list[Line]:
    """Return the whole page as styled lines.

    Args:
        comparison: What to show.
        page: What to write on.

    Returns:
        Lines of styled segments; their text alone says everything.
    """
    whole = [one for one in comparison.findings if one.layer is None]
    layers = [one for one in comparison.findings if one.layer is not None and (one.changed or significant(one))]
    lines = _heading(comparison, page)
    for title, body in (
        ("WHAT DIFFERS BESIDES THE RESULTS", _context(comparison, page)),
        ("CHANGED VERDICTS", _verdicts([one for one in comparison.findings if one.changed], page)),
        ("DIFFERENCES: second minus first", [row for one in whole for row in change_lines(one, page)]),
        ("LAYERS THAT CHANGED", [row for one in layers[:SHOWN] for row in change_lines(one, page)]),
        ("HEADS", _heads(comparison, page)),
        ("CONCLUSION", _conclusion(comparison, page)),
    ):
        if title.startswith("LAYERS") and len(layers) > SHOWN:
            body.append(line(f"  {ellipsis(page.encoding)} and {len(layers) - SHOWN} more: --json PATH"))
        if body:
            lines += [BLANK, line(title, "bold"), line("-" * page.width), *body]
    return [*lines, line("=" * page.width)]


def comparison_text(comparison: Comparison, *, columns: int = 80, encoding: str = "utf-8") -> str:
    """Return the page as plain text that ``encoding`` can represent."""
    return plain(comparison_lines(comparison, sheet(columns, encoding)))


def print_comparison(comparison: Comparison, stream: TextIO | None = None) -> None:
    """Print the page, in colour if the stream is a terminal that supports it."""
    import sys

    from heedful.reporting.paragraph import print_lines, stream_sheet

    out = stream or sys.stdout
    print_lines(comparison_lines(comparison, stream_sheet(out)), out)


def significant(change: FindingChange) -> bool:
    """Return whether a difference is significant after adjustment for all comparisons."""
    return change.p_adjusted is not None and change.p_adjusted <= ALPHA


def outcome(comparison: Comparison) -> tuple[str, str]:
    """Return the verdict whose symbol the page shows, and a word for the outcome."""
    if comparison.fail_on == ("never",):
        return "INFO", "NOT JUDGED"
    return ("FAIL", "REGRESSION") if comparison.failed else ("PASS", "NO REGRESSION")


def subject(change: FindingChange) -> str:
    """Return the claim's name, with its layer if it has one."""
    return change.claim if change.layer is None else f"{change.claim} (layer {change.layer})"


def numbers(change: FindingChange) -> list[str]:
    """Return estimates, difference, interval, number of documents and adjusted p-value as text pieces."""
    first, second = (None if one is None else one.estimate for one in (change.before, change.after))
    if change.difference is None:
        return [change.reason] if change.reason else []
    pieces = [f"{number(first)} -> {number(second)}{f' {change.unit}' if change.unit else ''}"]
    pieces.append(f"difference {number(change.difference)}")
    if change.interval is not None and not any(math.isnan(bound) for bound in change.interval):
        pieces.append(interval(change.interval))
    pieces += [f"n = {change.n}{' paired' if change.paired else ''}"] if change.n else []
    pieces += [probability("adjusted p", change.p_adjusted)] if change.p_adjusted is not None else []
    if change.equivalence is not None:
        within = "" if change.within is None else f" (margin {change.within:.3g})"
        pieces.append(f"{change.equivalence}{within}")
    return [*pieces, *([change.reason] if change.reason and change.interval is not None else [])]


def change_lines(change: FindingChange, page: Sheet) -> list[Line]:
    """Return the lines of one claim: its name with both verdicts, then the numbers."""
    before, after = change.verdicts
    message = after if before == after else f"{before} -> {after}"
    message = f"{DEFINITION_CHANGED}; {message}" if change.redefined else message
    shown = mark(after if change.after is not None else "SKIP", page.encoding)
    first = f"{shown} {page.text(subject(change))}"
    gap = page.width - cells(first) - cells(message)
    lines: list[Line] = [((first + " " * gap, ""), (message, style(after)))]
    if gap < 2:
        lines = [*paragraph(first, page.width), *paragraph(message, page.width, indent="    ", style=style(after))]
    rows = flow((page.text(piece) for piece in numbers(change)), "  ", page.width - 4)
    return lines + [((f"    {row}", "dim"),) for row in rows]


def head_name(head: HeadChange) -> str:
    """Return a head's layer and index, with the model's own name for it."""
    place = f"L{head.layer}H{head.head}"
    return place if head.label in ("", place) else f"{place} {head.label.removeprefix(place).strip()}"


def head_words(head: HeadChange) -> str:
    """Return both verdicts and patterns of a head as text."""
    first, second = (" ".join(part for part in pair if part) for pair in zip(head.verdicts, head.patterns, strict=True))
    return f"{first} -> {second}"


def largest(comparison: Comparison, name: str) -> list[HeadChange]:
    """Return the heads whose statistic ``name`` changed, largest change first."""
    known = [head for head in comparison.heads if abs(head.differences.get(name, math.nan)) > 0]
    return sorted(known, key=lambda head: -abs(head.differences[name]))[:LARGEST]


def _heading(comparison: Comparison, page: Sheet) -> list[Line]:
    verdict, word = outcome(comparison)
    message = f"{mark(verdict, page.encoding)} {word}"
    rule = line("=" * page.width)
    title: Line = ((aligned(TITLE, page.width - cells(message)), "bold"), (message, style(verdict)))
    lines = [rule, title, rule]
    for label, text in (
        ("First", f"{comparison.names[0]}: {comparison.verdicts[0]}"),
        ("Second", f"{comparison.names[1]}: {comparison.verdicts[1]}"),
        ("Documents", comparison.pairing),
    ):
        lines += paragraph(page.text(text), page.width, indent=" " * _LABEL, first=f"{label:<{_LABEL}}")
    return lines


def _context(comparison: Comparison, page: Sheet) -> list[Line]:
    if not comparison.context:
        return [line("  nothing: same model facts, text, settings and versions")]
    rows = (f"{what}: {first} -> {second}" for what, first, second in comparison.context)
    return [part for row in rows for part in paragraph(page.text(row), page.width, indent="    ", first="  ")]


def _verdicts(changed: list[FindingChange], page: Sheet) -> list[Line]:
    if not changed:
        return [line("  none")]
    lines: list[Line] = []
    for one in changed[:SHOWN]:
        before, after = one.verdicts
        message = f"{before} -> {after}: {page.text(subject(one))}"
        message += f" ({DEFINITION_CHANGED.lower()})" if one.redefined else ""
        lines += paragraph(
            message, page.width, indent=INDENT, first=f"{mark(after, page.encoding)} ", style=style(after)
        )
        if one.after is not None:
            lines += paragraph(page.text(one.after.reason), page.width, indent="    ", style="dim")
    more = len(changed) - SHOWN
    return lines + ([line(f"  {ellipsis(page.encoding)} and {more} more: --json PATH")] if more > 0 else [])


def _heads(comparison: Comparison, page: Sheet) -> list[Line]:
    if not comparison.heads:
        return paragraph(page.text(comparison.heads_reason), page.width, indent="  ")
    changed = [head for head in comparison.heads if head.changed]
    text = f"{count(len(comparison.heads), 'head')} in both, {len(changed)} with another verdict or pattern"
    message = f"{text}; {comparison.heads_reason}" if comparison.heads_reason else text
    lines = paragraph(page.text(message), page.width, indent="  ")
    for head in changed[:SHOWN]:
        lines += paragraph(
            page.text(f"{head_name(head)}: {head_words(head)}"), page.width, indent="      ", first="    "
        )
    if len(changed) > SHOWN:
        lines.append(line(f"    {ellipsis(page.encoding)} and {len(changed) - SHOWN} more: --json PATH"))
    for name in _NAMED:
        most = [f"{head_name(head)} {head.differences[name]:+.3g}" for head in largest(comparison, name)]
        if most:
            text = f"largest change of {name.replace('_', ' ')}: {', '.join(most)}"
            lines += paragraph(page.text(text), page.width, indent="      ", first="  ")
    moved = [f"{claim} {few} of {all_}" for claim, (few, all_) in comparison.head_verdicts.items() if few]
    if moved:
        text = f"heads with another verdict, by claim: {', '.join(moved)}"
        lines += paragraph(page.text(text), page.width, indent="      ", first="  ")
    return lines


def _conclusion(comparison: Comparison, page: Sheet) -> list[Line]:
    verdict, word = outcome(comparison)
    rules = ", ".join(comparison.fail_on)
    lines: list[Line] = [((f"{mark(verdict, page.encoding)} {word}", style(verdict)), (f" by --fail-on {rules}", ""))]
    for message in comparison.regressions:
        lines += paragraph(page.text(message), page.width, indent="    ", first="  - ")
    sure = sum(significant(one) for one in comparison.findings)
    tested = sum(one.p is not None for one in comparison.findings)
    alike = sum(one.equivalence == "EQUIVALENT" for one in comparison.findings)
    asked = sum(one.p_equivalent is not None for one in comparison.findings)
    lines += paragraph(
        f"{alike} of {asked} are equivalent: two one-sided tests at the stated margins (Holm over all of them, 5%).",
        page.width,
        indent="  ",
    )
    return lines + paragraph(
        f"{sure} of {tested} differences are significant (Holm over all of them, 5%).", page.width, indent="  "
    )
