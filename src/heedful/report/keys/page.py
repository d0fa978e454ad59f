"""The figures on key vectors as one HTML page that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from heedful.report.escape import visible
from heedful.report.figures.drawing import svg
from heedful.report.keys.charts import key_chart
from heedful.report.keys.record import KeyFigure, KeyReport

_FOLDER = "templates"


def key_html(report: KeyReport) -> str:
    """The page as text.

    Figures are images in the page itself, whose ink follows the reader's light or dark theme. The content security
    policy allows these, and the one style sheet by its digest, and nothing else.

    Args:
        report: What to show.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style = _read("keys.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # no loader: the template is the one string that ships, and it includes no other
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_read("keys.html")).render(
        policy=Markup(f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"),
        style=Markup(style),
        subject=visible(report.subject),
        measured=visible(report.measured),
        present=[visible(text) for text in report.present],
        limits=visible(report.limits),
        figures=[
            {
                "title": visible(figure.title),
                "paragraph": visible(figure.paragraph),
                "image": _image(figure) if figure.rows else "",
            }
            for figure in report.figures
        ],
    )


def _image(figure: KeyFigure) -> str:
    return base64.b64encode(svg(key_chart(figure), ink="currentColor", background="transparent").encode()).decode()


def _read(name: str) -> str:
    return resources.files("heedful.report").joinpath(_FOLDER, name).read_text(encoding="utf-8")
