"""Render a report for the terminal, in lines of at most 70 cells, with or without colour."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from heedful.evaluation.page.head_lines import head_lines, layer_lines
from heedful.evaluation.page.layer_table import layer_table
from heedful.evaluation.page.summary_lines import (
    INDENT,
    conclusion_lines,
    finding_lines,
    head_tally,
    heading_lines,
    next_lines,
    not_measured_lines,
    summary_lines,
    verdict_line,
    verdict_lines,
)
from heedful.reporting.marks import mark, style
from heedful.reporting.paragraph import (
    BLANK,
    COLUMNS,
    Line,
    Sheet,
    aligned,
    cells,
    line,
    plain,
    print_lines,
    sheet,
    stream_sheet,
)

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, HeadRow, Report, Section

TITLE = "ATTENTION VALIDATION REPORT"
_HEADS_SECTION = 5
_SECTIONS = 9


def terminal_lines(report: Report, page: Sheet) -> list[Line]:
    """Return the whole terminal page as styled lines.

    Args:
        report: What to show.
        page: What to write on.

    Returns:
        Lines of styled segments; their text alone says everything.
    """
    lines = [*_banner(TITLE, page, str(report.verdict)), *verdict_lines(report, page), *heading_lines(report, page)]
    found = {section.number: section for section in report.sections}
    for number in range(1, _SECTIONS + 1):
        lines += [BLANK, *_section(number, found.get(number), report.heads, page)]
    for title, body in (
        ("NOT MEASURED", not_measured_lines(report, page)),
        ("SUMMARY", summary_lines(report, page)),
        ("CONCLUSION", conclusion_lines(report, page)),
        ("WHAT TO TRY NEXT", next_lines(report, page)),
    ):
        if body:
            lines += [BLANK, *(_banner(title, page) if title == "SUMMARY" else _titled(title, page)), *body]
    return [*lines, line("=" * page.width)]


def terminal_text(report: Report, *, columns: int = COLUMNS, encoding: str = "utf-8") -> str:
    """Return the terminal page as plain text that ``encoding`` can represent."""
    return plain(terminal_lines(report, sheet(columns, encoding)))


def print_report(report: Report, stream: TextIO | None = None) -> None:
    """Print the report, in colour if the stream is a terminal that supports it."""
    out = stream or sys.stdout
    print_lines(terminal_lines(report, stream_sheet(out)), out)


def print_heads(heads: Iterable[HeadRow], stream: TextIO | None = None) -> None:
    """Print the head table with every head in model order, and a summary of each layer."""
    out, rows = stream or sys.stdout, list(heads)
    page = stream_sheet(out)
    print_lines([*head_lines(rows, page, shown=None), *layer_lines(rows, page, shown=None)], out)


def _section(number: int, section: Section | None, heads: Iterable[HeadRow], page: Sheet) -> list[Line]:
    title = section.title if section else "not in this report"
    lines = _titled(f"[{number}/{_SECTIONS}] {page.text(title)}", page)
    findings = section.findings if section else ()
    if findings and number != _HEADS_SECTION and all(str(finding.verdict) == "SKIP" for finding in findings):
        return [*lines, *_inapplicable(findings, page)]
    skipped = [finding for finding in findings if finding.verdict == "SKIP" and finding.estimate is None]
    for claim in dict.fromkeys(finding.claim for finding in findings if finding not in skipped):
        lines += _claim([finding for finding in findings if finding.claim == claim], page)
    if skipped:
        lines += _inapplicable(skipped, page)
    lines += layer_table([one for one in findings if one.layer is not None and one.head is None], page)
    if number == _HEADS_SECTION:
        rows = list(heads)
        lines += [*([BLANK] if findings else []), *head_lines(rows, page), *layer_lines(rows, page)]
    elif not findings:
        lines.append(line(f"{mark('SKIP', page.encoding)} SKIP    nothing of this section was measured"))
    return lines


def _inapplicable(findings: Sequence[Finding], page: Sheet) -> list[Line]:
    """Claims that were not judged: names and reasons in one paragraph."""
    reasons = dict.fromkeys(page.text(finding.reason) for finding in findings)
    names = ", ".join(dict.fromkeys(page.text(finding.claim) for finding in findings))
    return verdict_line("SKIP", f"{names}: {'; '.join(reasons)}", page)


def _claim(findings: list[Finding], page: Sheet) -> list[Line]:
    whole = [finding for finding in findings if finding.layer is None and finding.head is None]
    lines = [row for finding in whole for row in finding_lines(finding, page)]
    by_head = [finding for finding in findings if finding.head is not None]
    if by_head and not whole:
        lines.append(line(INDENT + page.text(by_head[0].claim)))
    return lines + head_tally(by_head, page)


def _banner(title: str, page: Sheet, verdict: str = "") -> list[Line]:
    rule = line("=" * page.width)
    word = f"{mark(verdict, page.encoding)} {verdict}" if verdict else ""
    return [rule, ((aligned(title, page.width - cells(word)), "bold"), (word, style(verdict))), rule]


def _titled(title: str, page: Sheet) -> list[Line]:
    return [line(title, "bold"), line("-" * page.width)]
