"""Render the head table as a page and as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from heedful.evaluation.page.json_document import head_documents
from heedful.evaluation.page.pair_lines import pair_part
from heedful.reporting.json_text import document_text
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.shown_record import counted

if TYPE_CHECKING:
    from heedful.evaluation.head_listing import HeadTable

COLUMNS = ("effective_keys", "concentration", "max_weight", "previous_mass", "sink_mass", "self_mass")


def head_page(table: HeadTable) -> Page:
    """Build the page of a head table.

    Args:
        table: What to show.
    """
    names = [name for name in COLUMNS if any(name in row.statistics for row in table.rows)]
    rows = [
        (row.label, row.verdict, row.pattern or "-", *(_number(row.statistics.get(name, math.nan)) for name in names))
        for row in table.rows
    ]
    read = table.read
    text = (
        f" on {counted(read['sequences'], 'sequence')} of {read['sequence_length']} tokens"
        f" of {counted(read['documents'], 'document')}"
        if read
        else ""
    )
    return Page(
        title="Heads",
        subject=f"{table.model}: {counted(len(table), 'head')}{text}",
        parts=[
            PagePart(
                title="Every head",
                header=("head", "verdict", "pattern", *(name.replace("_", " ") for name in names)),
                rows=rows,
                text=(
                    "SHARP, SELECTIVE, WEAK, DIFFUSE: how far the head is from equal weights on the keys that it sees; "
                    "UNDEFINED where no row could be judged. Means over documents; - where undefined."
                ),
            ),
            *(() if table.by_pairs is None else (pair_part(table.by_pairs),)),
            *(PagePart(title="Note", text=note) for note in table.notes),
        ],
    )


def head_json(table: HeadTable) -> str:
    """Return the head table as JSON text, with the same rows as in a report."""
    return document_text(head_documents(table.rows))


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"
