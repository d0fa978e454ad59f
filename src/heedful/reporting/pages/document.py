"""Convert a record to strict JSON: an object keyed by field name, in which an ``Effect`` is an object with estimate,
low, high and n.
"""

from __future__ import annotations

from dataclasses import Field, asdict
from typing import Any, ClassVar, Protocol

from heedful.reporting.json_text import document_text
from heedful.reporting.json_values import json_value


class Record(Protocol):
    """Protocol of a dataclass that can be shown as a page and stored as JSON.

    Attributes:
        schema: Name and version of its document, ``heedful.pruning/1`` say.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    schema: ClassVar[str]


def record_document(record: Record) -> dict[str, Any]:
    """Return the record as a JSON-compatible dict with its field names; non-finite numbers become null."""
    lost: list[str] = []
    fields = {name: json_value(value, f"$.{name}", lost) for name, value in asdict(record).items()}
    return {"schema": record.schema, **fields}


def record_json(record: Record) -> str:
    """Return the record as JSON text that ends with a newline."""
    return document_text(record_document(record))
