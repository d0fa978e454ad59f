"""A record as a strict JSON document: its fields by name, effects as objects of four numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeAlias

from heedful.evaluation.page.json_document import document_text
from heedful.reporting.json_values import json_value

if TYPE_CHECKING:
    from heedful.compression.record import Pruning, Quantization
    from heedful.ngrams.alignment.record import Alignment
    from heedful.ngrams.explanation.record import Explanation
    from heedful.ngrams.remedies.record import Ladder

    Record: TypeAlias = Quantization | Pruning | Alignment | Explanation | Ladder

SCHEMAS = {
    "Quantization": "heedful.quantization/1",
    "Pruning": "heedful.pruning/1",
    "Alignment": "heedful.alignment/1",
    "Explanation": "heedful.explanation/1",
    "Ladder": "heedful.remedies/1",
}
"""Class of a record to the name of its document."""


def record_document(record: Record) -> dict[str, Any]:
    """The record in JSON's own types, fields named as the record's; a number that is not finite becomes null."""
    lost: list[str] = []
    fields = {name: json_value(value, f"$.{name}", lost) for name, value in asdict(record).items()}
    return {"schema": SCHEMAS[type(record).__name__], **fields}


def record_json(record: Record) -> str:
    """The record as JSON text, ended by a newline."""
    return document_text(record_document(record))
