"""Convert the figures on key vectors to strict JSON, schema ``heedful.keys/1``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from heedful.monitoring.page.record import KeyReport
from heedful.reporting.json_text import document_text
from heedful.reporting.json_values import json_value

KEYS_SCHEMA = "heedful.keys/1"


def key_document(report: KeyReport) -> dict[str, Any]:
    """Return the report as a JSON-compatible dict; non-finite numbers become null.

    Args:
        report: What to write.
    """
    lost: list[str] = []
    return {
        name: json_value(value, f"$.{name}", lost) for name, value in {"schema": KEYS_SCHEMA, **asdict(report)}.items()
    }


def key_json(report: KeyReport) -> str:
    """Return the report as JSON text that ends with a newline."""
    return document_text(key_document(report))
