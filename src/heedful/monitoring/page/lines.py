"""Render the report on key vectors for the terminal, with the figures' paragraphs."""

from __future__ import annotations

from typing import TextIO

from heedful.monitoring.page.record import KeyReport
from heedful.reporting.paragraph import BLANK, Line, Sheet, line, paragraph, plain, sheet

TITLE = "KEY VECTORS"


def key_lines(report: KeyReport, page: Sheet) -> list[Line]:
    """Return the whole report as styled lines.

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
    """Return the report as plain text that ``encoding`` can represent."""
    return plain(key_lines(report, sheet(columns, encoding)))


def print_keys(report: KeyReport, stream: TextIO | None = None) -> None:
    """Print the report, in colour if the stream is a terminal that supports it."""
    import sys

    from heedful.reporting.terminal import print_lines, stream_sheet

    out = stream or sys.stdout
    print_lines(key_lines(report, stream_sheet(out)), out)
