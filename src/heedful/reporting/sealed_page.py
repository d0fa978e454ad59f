"""Fill a shipped HTML template; the page loads no external files and runs only scripts allowed by hash."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

_FOLDER = "templates"

IMAGES = "img-src data:"
"""Images that stand in the page itself."""


def sealed_page(name: str, *allowed: str, **values: Any) -> str:
    """Fill the template ``name``, add the shared style sheet, and set a content security policy.

    The policy allows the one style sheet by its digest, what is named, and nothing else; every value is escaped.

    Args:
        name: Of the template.
        allowed: Further directives of the policy, such as ``IMAGES``.
        values: What the template shows.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style = _read("house.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # no loader: the template is the one string that ships, and it includes no other
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    policy = "; ".join(["default-src 'none'", *allowed, f"style-src 'sha256-{digest}'"])
    return environment.from_string(_read(f"{name}.html")).render(policy=Markup(policy), style=Markup(style), **values)


def _read(file: str) -> str:
    return resources.files("heedful.reporting").joinpath(_FOLDER, file).read_text(encoding="utf-8")
