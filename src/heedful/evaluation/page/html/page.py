"""Fill the HTML template with escaped text; a content security policy allows its script and style by hash."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from heedful.evaluation.page.figures.figures import FIGURES
from heedful.evaluation.page.html import facts
from heedful.evaluation.page.html.heads import heads_json
from heedful.evaluation.page.html.verdicts import badge, blocks, counts
from heedful.evaluation.page.json_document import SCHEMA
from heedful.reporting.drawing import drawn, svg
from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.evaluation.result import Report

LONG_WORD = 10
"""Letters of a verdict beyond which the column of verdicts is wider."""


def to_html(report: Report) -> str:
    """Return the report as one self-contained HTML page.

    Every text of the report is made visible (``escape.visible``) and then escaped for HTML. A policy in the page's head
    forbids every script but its own, every style but its own, and every load.

    Args:
        report: What to show; its ``cards`` give pictures of heads, where it has them.

    Returns:
        The page.
    """
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return _template().render(
        schema=SCHEMA,
        policy=policy,
        style=_own(style),
        script=_own(script),
        data=_own(heads_json(report)),
        report=report,
        verdict=badge(str(report.verdict)),
        blocks=blocks(report),
        counts=counts(report),
        long_words=any(len(one.word) > LONG_WORD for one, _ in counts(report)),
        facts=facts,
        badge=badge,
        figures=[
            (one.figure, _own(_image(svg(one, ink="currentColor", background="transparent"))))
            for one in _charts(report)
        ],
    )


def _charts(report: Report) -> list[Any]:
    return drawn(report, FIGURES)


def _image(text: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode("utf-8")).decode("ascii")


def _template() -> Any:
    import jinja2

    surroundings = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    return surroundings.from_string(_asset("page.html"))


def _shown(value: Any) -> Any:
    """What a template prints: our own text as it is, any other made visible and then escaped."""
    return value if hasattr(value, "__html__") or value == "" else visible(value)


def _own(text: str) -> Any:
    import markupsafe

    return markupsafe.Markup(text)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _asset(name: str) -> str:
    return resources.files("heedful.evaluation.page.html").joinpath(name).read_text(encoding="utf-8")
