"""Count the layers of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heedful.evaluation.result import Report


def layers_of(report: Report) -> int:
    """Return the number of layers in the report's head table."""
    return max((row.layer for row in report.heads), default=-1) + 1
