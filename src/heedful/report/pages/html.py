"""A page as HTML that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from heedful.report.escape import visible
from heedful.report.figures.drawing import png
from heedful.report.pages.part import Page, Part

_FOLDER = "templates"


def page_html(page: Page) -> str:
    """The page as text.

    Figures are images in the page itself. The content security policy allows these, and the one style sheet by its
    digest, and nothing else.

    Args:
        page: What to show.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style = _read("page.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # no loader: the template is the one string that ships, and it includes no other
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_read("page.html")).render(
        policy=Markup(f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"),
        style=Markup(style),
        title=visible(page.title),
        subject=visible(page.subject),
        parts=[_part(part) for part in page.parts],
    )


def _part(part: Part) -> dict[str, Any]:
    image = "" if part.chart is None else base64.b64encode(png(part.chart())).decode()
    return {
        "title": visible(part.title),
        "text": visible(part.text),
        "header": [visible(cell) for cell in part.header],
        "rows": [[visible(cell) for cell in row] for row in part.rows],
        "image": image,
    }


def _read(name: str) -> str:
    return resources.files("heedful.report").joinpath(_FOLDER, name).read_text(encoding="utf-8")
