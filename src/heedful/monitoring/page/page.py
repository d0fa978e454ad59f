"""Render the figures on key vectors as one HTML page without scripts or external files."""

from __future__ import annotations

import base64

from heedful.monitoring.page.charts import key_chart
from heedful.monitoring.page.record import KeyFigure, KeyReport
from heedful.reporting.drawing import svg
from heedful.reporting.escape import visible
from heedful.reporting.sealed_page import IMAGES, sealed_page


def key_html(report: KeyReport) -> str:
    """Return the report as one HTML page.

    Figures are images in the page itself, whose ink follows the reader's light or dark theme. The content security
    policy allows these, and the one style sheet by its digest, and nothing else.

    Args:
        report: What to show.
    """
    return sealed_page(
        "keys",
        IMAGES,
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
