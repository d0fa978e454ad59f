"""The page on key vectors for a terminal, with the same paragraphs as the figures."""

from __future__ import annotations

from typing import TextIO

from heedful.monitoring.page.record import KeyReport
from heedful.reporting.paragraph import BLANK, Line, Sheet, line, paragraph, plain, sheet

TITLE = "KEY VECTORS"


def key_lines(report: KeyReport, page: Sheet) -> list[Line]:
    """The whole page, top to bottom.

    Args:
        report: What to show.
        page: What to write on.

    Returns:
        Lines of styled segments.
    """
    rule = line("=" * page.width)
    lines = [rule, line(TITLE, "bold"), rule, *paragraph(page.text(report.subject), page.width)]
    for text in (report.measured, *report.present):
        lines += paragraph(page.text(text), page.width)
    parts = [(figure.title, figure.paragraph) for figure in report.figures]
    for title, text in [*parts, ("What none of the figures shows", report.limits)]:
        lines += [BLANK, line(title.upper(), "bold"), line("-" * page.width), *paragraph(page.text(text), page.width)]
    return [*lines, rule]


def key_text(report: KeyReport, *, columns: int = 80, encoding: str = "utf-8") -> str:
    """The page as plain text, for a stream of this encoding."""
    return plain(key_lines(report, sheet(columns, encoding)))


def print_keys(report: KeyReport, stream: TextIO | None = None) -> None:
    """Write the page: coloured on a terminal that wants colour, else without any escape."""
    import sys

    from heedful.reporting.terminal import print_lines, stream_sheet

    out = stream or sys.stdout
    print_lines(key_lines(report, stream_sheet(out)), out)
