"""Render a report in at most 25 lines: verdict, subject, failed and open claims, conclusion, next step."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from heedful.evaluation.page.finding_lines import verdict_line
from heedful.evaluation.page.summary_lines import heading_lines, next_lines, tally_lines
from heedful.reporting.marks import ellipsis, mark, style
from heedful.reporting.paragraph import BLANK, Line, Sheet, aligned, cells, line, paragraph, plain, sheet
from heedful.reporting.terminal import COLUMNS, print_lines, stream_sheet

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, Report

LONGEST = 25
_HEADING, _CLAIMS, _CONCLUSION, _NEXT = 5, 6, 6, 2
_ORDER = ("FAIL", "ERROR", "WARN", "INSUFFICIENT DATA", "UNDEFINED")


def brief_lines(report: Report, page: Sheet) -> list[Line]:
    """Return the short version of a report as styled lines, at most 25.

    Args:
        report: What to show.
        page: What to write on.

    Returns:
        At most 25 lines of styled segments. Long parts are cut and end in an ellipsis.
    """
    verdict = str(report.verdict)
    word = f"{mark(verdict, page.encoding)} {verdict}"
    title = "ATTENTION VALIDATION"
    lines: list[Line] = [((aligned(title, page.width - cells(word)), "bold"), (word, style(verdict)))]
    lines += _cut(heading_lines(report, page, settings=False), _HEADING, page)
    lines += [BLANK, *_cut(tally_lines(report, page), 2, page)]
    lines += _open(report, page)
    conclusion = " ".join(str(report.summary.get("conclusion", "no conclusion was drawn")).split())
    lines += [BLANK, *_cut(paragraph(page.text(conclusion), page.width), _CONCLUSION, page)]
    following = _cut(next_lines(report, page), _NEXT, page)
    return [*lines, *([BLANK, *following] if following else [])][:LONGEST]


def brief_text(report: Report, *, columns: int = COLUMNS, encoding: str = "utf-8") -> str:
    """Return the short version of a report as plain text that ``encoding`` can represent."""
    return plain(brief_lines(report, sheet(columns, encoding)))


def print_brief(report: Report, stream: TextIO | None = None) -> None:
    """Print the short version of a report, in colour if the stream is a terminal that supports it."""
    out = stream or sys.stdout
    print_lines(brief_lines(report, stream_sheet(out)), out)


def _open(report: Report, page: Sheet) -> list[Line]:
    """Claims of the whole model that did not pass, the worst first, one line each."""
    findings = [
        one for section in report.sections for one in section.findings if one.layer is None and one.head is None
    ]
    found = sorted((one for one in findings if str(one.verdict) in _ORDER), key=_rank)
    lines = [_cut(verdict_line(one.verdict, f"{one.claim}: {one.reason}", page), 1, page)[0] for one in found[:_CLAIMS]]
    more = len(found) - _CLAIMS
    if more > 0:
        lines[-1] = line(f"{ellipsis(page.encoding)} and {more + 1} more: leave out --brief", "dim")
    return lines


def _rank(one: Finding) -> int:
    return _ORDER.index(str(one.verdict))


def _cut(lines: list[Line], most: int, page: Sheet) -> list[Line]:
    """The first lines; the last ends in an ellipsis where more would follow."""
    if len(lines) <= most:
        return lines
    dots = ellipsis(page.encoding)
    kept, last = lines[: most - 1], lines[most - 1]
    over = sum(len(part) for part, _ in last) + len(dots) + 1 - page.width
    text, look = last[-1]
    ended = (f"{text[: len(text) - max(0, over)].rstrip()} {dots}", look)
    return [*kept, (*last[:-1], ended)]
