"""Fill a shipped HTML template; the page loads no external files and runs only scripts allowed by hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata, resources
from typing import Any

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
    """Everything that shaped a result, as rows of name and value; a mapping within becomes rows of its own.

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
