"""A report that ``--json`` wrote, read again."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heedful.evaluation.result import Report

LARGEST = 2**28
"""Bytes; a document beyond is no report of heedful's."""


def stored_report(path: Path) -> "Report":
    """The report at a path.

    Args:
        path: What ``heedful validate --json`` wrote.

    Returns:
        The report.

    Raises:
        UsageError: Nothing stands there.
        InputRejected: It is no regular file, too large, or no report.
    """
    from heedful.evaluation.page.json_reader import from_json
    from heedful.loading.regular_file import read_small

    return from_json(read_small(path, LARGEST, "a report"), name=str(path))
