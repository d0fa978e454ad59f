"""Render a page for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.paragraph import BLANK, Line, Sheet, aligned, cells, line, paragraph, plain, sheet

GAP = 2


def page_lines(page: Page, on: Sheet) -> list[Line]:
    """Return the whole page as styled lines.

    Args:
        page: What to show.
        on: What to write on.

    Returns:
        Lines of styled segments.
    """
    rule = line("=" * on.width)
    lines = [rule, line(on.text(page.title).upper(), "bold"), rule, *paragraph(on.text(page.subject), on.width)]
    for part in page.parts:
        lines += [BLANK, line(on.text(part.title).upper(), "bold"), line("-" * on.width), *_table(part, on)]
        lines += paragraph(on.text(part.text), on.width)
    return [*lines, rule]


def page_text(page: Page, *, columns: int = 80, encoding: str = "utf-8") -> str:
    """Return the page as plain text that ``encoding`` can represent."""
    return plain(page_lines(page, sheet(columns, encoding)))


def print_page(page: Page, stream: TextIO | None = None) -> None:
    """Print the page, in colour if the stream is a terminal that supports it."""
    import sys

    from heedful.reporting.terminal import print_lines, stream_sheet

    out = stream or sys.stdout
    print_lines(page_lines(page, stream_sheet(out)), out)


def _table(part: PagePart, on: Sheet) -> list[Line]:
    """Columns as narrow as their cells allow; where they do not fit, numbers stand on a line below the name."""
    if not part.header:
        return []
    rows = [tuple(on.text(cell) for cell in row) for row in (part.header, *part.rows)]
    widths = [max(cells(row[place]) for row in rows) for place in range(len(part.header))]
    fits = sum(widths) + GAP * (len(widths) - 1) <= on.width
    lines = [one for number, row in enumerate(rows) for one in _row(row, widths, fits, "bold" if not number else "")]
    return [*lines, BLANK] if part.text else lines


def _row(row: Sequence[str], widths: Sequence[int], fits: bool, style: str) -> list[Line]:
    numbers = [aligned(cell, width, right=True) for cell, width in zip(row[1:], widths[1:], strict=True)]
    if fits:
        return [line((" " * GAP).join([aligned(row[0], widths[0]), *numbers]), style)]
    return [line(row[0], style), *paragraph("  ".join(cell for cell in row[1:] if cell), 70, indent="    ")]
