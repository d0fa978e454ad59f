"""Read a report, or another kind of record that has a registered reader, from a JSON file."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.reporting.json_values import RECORDS, RecordReader

if TYPE_CHECKING:
    from heedful.evaluation.result import Report

LARGEST = 2**27
"""Bytes; a document beyond is no report of heedful's."""

REPORT = "heedful.report"
_BEGINNING = 4096
_SCHEMA = re.compile(rb'"schema"\s*:\s*"([A-Za-z0-9_.]{1,100})/')


def stored_report(path: Path) -> "Report":
    """Read the report at ``path``.

    Args:
        path: What ``heedful validate --json`` wrote.

    Returns:
        The report.

    Raises:
        UsageError: Nothing stands there.
        InputRejected: It is no regular file, too large, or no report.
    """
    from heedful.loading.regular_file import read_small

    report: Report = RECORDS[REPORT].read(read_small(path, LARGEST, "a report"), name=str(path))
    return report


def stored_record(path: Path) -> tuple[RecordReader, Any]:
    """Read the record at ``path``; return its reader, which can show it, and the record.

    Args:
        path: What a command wrote with ``--json``.

    Returns:
        The reader registered for the schema that the document names near its beginning, and the record. A document
        that names none is read as a report, whose reader says what is wrong with it.

    Raises:
        UsageError: Nothing stands there.
        InputRejected: It is no regular file, too large, or not what its schema says.
    """
    from heedful.loading.regular_file import read_small

    data = read_small(path, LARGEST, "a report")
    named = _SCHEMA.search(data[:_BEGINNING])
    family = named.group(1).decode() if named else REPORT
    reader = RECORDS.get(family, RECORDS[REPORT])
    return reader, reader.read(data, name=str(path))
