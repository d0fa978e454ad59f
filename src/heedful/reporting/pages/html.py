"""Render a page as HTML without scripts or external files."""

from __future__ import annotations

import base64
from typing import Any

from heedful.reporting.drawing import svg
from heedful.reporting.escape import visible
from heedful.reporting.pages.part import Page, PagePart, number_columns
from heedful.reporting.sealed_page import IMAGES, sealed_page, setting_rows

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


def _looks(part: PagePart) -> list[str]:
    """The class of each column: numbers flush right, words flush left, and a column of sentences wide."""
    lengths = [max(map(len, column)) for column in zip(*part.rows, strict=True)] or [0] * len(part.header)
    words = ["words long" if length > LONG_CELL else "words" for length in lengths]
    return ["number" if number else word for number, word in zip(number_columns(part), words, strict=True)]


def _part(part: PagePart) -> dict[str, Any]:
    return {
        "title": visible(part.title),
        "text": visible(part.text),
        "header": [visible(cell) for cell in part.header],
        "looks": _looks(part),
        "rows": [[visible(cell) for cell in row] for row in part.rows],
        "image": _image(part),
    }
