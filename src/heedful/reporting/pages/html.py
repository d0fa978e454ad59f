"""A page as HTML without script or outside files."""

from __future__ import annotations

import base64
from typing import Any

from heedful.reporting.drawing import svg
from heedful.reporting.escape import visible
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.sealed_page import IMAGES, sealed_page


def page_html(page: Page) -> str:
    """The page as an HTML string.

    Figures are images in the page itself, whose ink follows the reader's light or dark theme. The content security
    policy allows these, and the one style sheet by its digest, and nothing else.

    Args:
        page: What to show.
    """
    return sealed_page(
        "page",
        IMAGES,
        title=visible(page.title),
        subject=visible(page.subject),
        refresh=page.refresh,
        parts=[_part(part) for part in page.parts],
    )


def _image(part: PagePart) -> str:
    if part.chart is None:
        return ""
    return base64.b64encode(svg(part.chart(), ink="currentColor", background="transparent").encode()).decode()


def _part(part: PagePart) -> dict[str, Any]:
    return {
        "title": visible(part.title),
        "text": visible(part.text),
        "header": [visible(cell) for cell in part.header],
        "rows": [[visible(cell) for cell in row] for row in part.rows],
        "image": _image(part),
    }
