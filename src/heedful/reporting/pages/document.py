"""A record as a strict JSON document: fields by name, effects as objects of four numbers."""

from __future__ import annotations

from dataclasses import Field, asdict
from typing import Any, ClassVar, Protocol

from heedful.reporting.json_text import document_text
from heedful.reporting.json_values import json_value


class Record(Protocol):
    """A dataclass that can be shown as a page and stored as a document.

    Attributes:
        schema: Name and version of its document, ``heedful.pruning/1`` say.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    schema: ClassVar[str]


def record_document(record: Record) -> dict[str, Any]:
    """The record in JSON's own types, with the record's field names; a number that is not finite becomes null."""
    lost: list[str] = []
    fields = {name: json_value(value, f"$.{name}", lost) for name, value in asdict(record).items()}
    return {"schema": record.schema, **fields}


def record_json(record: Record) -> str:
    """The record as JSON text, ended by a newline."""
    return document_text(record_document(record))
