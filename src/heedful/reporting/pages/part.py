"""Page structure for terminal, HTML and JSON: tables, each with a paragraph.

Convert a record to strict JSON: an object keyed by field name, in which an ``Effect`` is an object with estimate,
low, high and n.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import Field, asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from heedful.reporting.json_values import document_text, json_value

if TYPE_CHECKING:
    from heedful.reporting.drawing import Drawn


Row = tuple[str, ...]
_WORD = re.compile(r"\b(?!(?:nats?|bits?|mass|inf|nan|keys?|share|ratio)\b)[^\W\d_]{3,}", re.IGNORECASE)
_EMPTY = {"", "-", "–", "none"}


@dataclass(frozen=True, kw_only=True)
class PagePart:
    """One section of a page: title, table, paragraph and chart.

    Attributes:
        title: What it is about.
        text: A paragraph below the table.
        header: Names of the columns; empty where there is no table.
        rows: Cells, as many as there are columns; the first one is a name.
        chart: Draws the part's figure, for media that can show one; None where it has none.
    """

    title: str
    text: str
    header: Row = ()
    rows: Sequence[Row] = ()
    chart: Callable[[], Drawn] | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page: title, subject (model and text) and sections.

    Attributes:
        title: What was measured.
        subject: The model and the text.
        parts: Top to bottom.
        refresh: Seconds after which a browser loads the page again; None for never.
    """

    title: str
    subject: str
    parts: Sequence[PagePart]
    refresh: int | None = None


def number_columns(part: PagePart) -> list[bool]:
    """Return whether each column of a page part's table holds numbers, which are right-aligned; columns of words are
    left-aligned.

    A column of numbers has a digit somewhere and no word but a unit: ``+0.0038``, ``[0.1, 0.2]``, ``0.2 nats``. The
    first column holds names.

    Args:
        part: With its table.

    Returns:
        One answer a column.
    """
    columns = list(zip(*part.rows, strict=True)) if part.rows else [()] * len(part.header)
    return [bool(place) and _numeric(column) for place, column in enumerate(columns)]


def _numeric(column: Sequence[str]) -> bool:
    filled = [cell for cell in column if cell not in _EMPTY]
    return any(any(sign.isdigit() for sign in cell) for cell in filled) and not any(
        _WORD.search(cell) for cell in filled
    )


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
