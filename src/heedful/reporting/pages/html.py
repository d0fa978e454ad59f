"""Render a page as HTML without scripts or external files.

Fill a shipped HTML template; the page loads no external files and runs only scripts allowed by hash.

Render a page for the terminal.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata, resources
from typing import Any, TextIO

from heedful.reporting.drawing import svg
from heedful.reporting.escape import visible
from heedful.reporting.pages.part import Page, PagePart, number_columns
from heedful.reporting.paragraph import BLANK, Line, Sheet, aligned, cells, line, paragraph, plain, sheet

LONG_CELL = 30
"""Characters of a cell beyond which its column wraps, and is wide."""


def page_html(page: Page, record: Any = None) -> str:
    """Return the page as an HTML document.

    Figures are images in the page itself, whose ink follows the reader's light or dark theme. The content security
    policy allows these, and the one style sheet by its digest, and nothing else.

    Args:
        page: What to show.
        record: What it was made of: its ``settings`` and ``versions``, where it has them, stand at the foot.
    """
    return sealed_page(
        "page",
        IMAGES,
        title=visible(page.title),
        subject=visible(page.subject),
        refresh=page.refresh,
        parts=[_part(part) for part in page.parts],
        settings=[
            (visible(name), visible(value))
            for name, value in setting_rows(*(getattr(record, table, None) for table in ("settings", "versions")))
        ],
    )


def _image(part: PagePart) -> str:
    if part.chart is None:
        return ""
    return base64.b64encode(svg(part.chart(), ink="currentColor", background="transparent").encode()).decode()


def _alignments(part: PagePart) -> list[str]:
    """The class of each column: numbers flush right, words flush left, and a column of sentences wide."""
    lengths = [max(map(len, column)) for column in zip(*part.rows, strict=True)] or [0] * len(part.header)
    words = ["words long" if length > LONG_CELL else "words" for length in lengths]
    return ["number" if number else word for number, word in zip(number_columns(part), words, strict=True)]


def _part(part: PagePart) -> dict[str, Any]:
    return {
        "title": visible(part.title),
        "text": visible(part.text),
        "header": [visible(cell) for cell in part.header],
        "looks": _alignments(part),
        "rows": [[visible(cell) for cell in row] for row in part.rows],
        "image": _image(part),
    }


_FOLDER = "templates"

IMAGES = "img-src data:"
"""Images that stand in the page itself."""


def sealed_page(name: str, *allowed: str, **values: Any) -> str:
    """Fill the template ``name``, add the shared style sheet, and set a content security policy.

    The policy allows the one style sheet by its digest, what is named, and nothing else; every value is escaped. The
    foot of the page has the settings, heedful's version and the date.

    Args:
        name: Of the template.
        allowed: Further directives of the policy, such as ``IMAGES``.
        values: What the template shows; ``settings``: rows of name and value.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style = _read("house.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    values = {"settings": [], "made": _made(), **values}
    # no loader: the template is the one string that ships, and it includes no other
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    policy = "; ".join(["default-src 'none'", *allowed, f"style-src 'sha256-{digest}'"])
    return environment.from_string(_read(f"{name}.html")).render(policy=Markup(policy), style=Markup(style), **values)


def setting_rows(*tables: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return everything that shaped a result as (name, value) rows; each entry of a nested mapping becomes a row of
    its own.

    Args:
        tables: Mappings such as settings and versions; None is left out.
    """
    return [row for table in tables if table for name, value in table.items() for row in _rows(str(name), value)]


def _rows(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [row for key, part in value.items() for row in _rows(f"{name}.{key}", part)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = ", ".join(str(part) for part in value) or "none"
    words = {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return [(name.replace("_", " "), "not given" if value is None else words)]


def _made() -> str:
    return f"Made by heedful {metadata.version('heedful')} on {datetime.now().astimezone():%Y-%m-%d at %H:%M %Z}."


def _read(file: str) -> str:
    return resources.files("heedful.reporting").joinpath(_FOLDER, file).read_text(encoding="utf-8")


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

    from heedful.reporting.paragraph import print_lines, stream_sheet

    out = stream or sys.stdout
    print_lines(page_lines(page, stream_sheet(out)), out)


def _table(part: PagePart, on: Sheet) -> list[Line]:
    """Columns as narrow as their cells allow; where they do not fit, numbers stand on a line below the name."""
    if not part.header:
        return []
    rows = [tuple(on.text(cell) for cell in row) for row in (part.header, *part.rows)]
    widths = [max(cells(row[place]) for row in rows) for place in range(len(part.header))]
    fits = sum(widths) + GAP * (len(widths) - 1) <= on.width
    right = [False, *number_columns(part)[1:]]
    lines = [
        one for number, row in enumerate(rows) for one in _row(row, widths, right, fits, "bold" if not number else "")
    ]
    return [*lines, BLANK] if part.text else lines


def _row(row: Sequence[str], widths: Sequence[int], right: Sequence[bool], fits: bool, style: str) -> list[Line]:
    """Numbers flush right, words and the names in the first column flush left."""
    if fits:
        cell = [aligned(text, width, right=end) for text, width, end in zip(row, widths, right, strict=True)]
        return [line((" " * GAP).join(cell).rstrip(), style)]
    return [line(row[0], style), *paragraph("  ".join(cell for cell in row[1:] if cell), 70, indent="    ")]
