"""Registry of readers for stored JSON documents; each feature registers its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from heedful.plugins import Registry


@dataclass(frozen=True)
class RecordReader:
    """Functions that read and show stored documents of one schema family.

    Attributes:
        read: From its bytes and the name of its file to the record. It raises InputRejected for anything else.
        show: Writes the record's terminal page to a stream; None stands for standard output.
    """

    read: Callable[..., Any]
    show: Callable[[Any, TextIO | None], None]


RECORDS: Registry[RecordReader] = Registry("records", "record reader")
"""Family of documents, the part of their ``schema`` before the slash (``heedful.report``), to its reader."""
