"""Render the head table as a page and as JSON.

Render a ranking of heads by position pairs, for the terminal and as a page section.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, TextIO

from heedful.evaluation.page.json_document import head_documents
from heedful.reporting.json_values import document_text
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.paragraph import BLANK, Line, Sheet, line, paragraph, print_lines, stream_sheet
from heedful.reporting.shown_record import counted

if TYPE_CHECKING:
    from heedful.evaluation.head_listing import HeadTable
    from heedful.interception.pair_ranking import PairRanking


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


SHOWN = 20

FEW = 50
"""Other matchings below which the reader is warned."""


def pair_lines(ranking: PairRanking, page: Sheet) -> list[Line]:
    """Return lines with a heading, one line per head (largest weight first), and the null hypothesis.

    Args:
        ranking: The ranking.
        page: What to write on.
    """
    lines = [BLANK, line(f"  {'head':<8} {'mass':>6} {'permuted':>9} {'p':>6} {'adjusted':>9}", "bold")]
    for row in ranking.rows[:SHOWN]:
        name = f"L{row.layer}H{row.head}"
        lines.append(line(f"  {name:<8} {row.mass:>6.3f} {row.permuted:>9.3f} {row.p:>6.3f} {row.p_adjusted:>9.3f}"))
    return lines + paragraph(column_notes(ranking), page.width, indent="  ", style="dim")


def column_notes(ranking: PairRanking) -> str:
    """Return sentences that explain the columns and the null hypothesis."""
    few = ""
    if ranking.others < FEW:
        few = (
            f" Only {ranking.others} other matchings are possible, so that no p can be small: give pairs further apart."
        )
    return (
        f"Mean weight on {counted(ranking.pairs, 'pair')}; null: {ranking.permutations} permutations of their keys "
        f"among their queries, which keep both and change which belongs to which; adjusted over all heads (max-T).{few}"
    )


def pair_part(ranking: PairRanking) -> PagePart:
    """Return the ranking as a section of the page of heads."""
    rows = [
        (f"L{row.layer}H{row.head}", *(f"{value:.3f}" for value in (row.mass, row.permuted, row.p, row.p_adjusted)))
        for row in ranking.rows
    ]
    header = ("head", "mass", "permuted", "p", "adjusted p")
    return PagePart(title="Heads by the given pairs", header=header, rows=rows, text=column_notes(ranking))


def print_ranking(ranking: PairRanking, stream: TextIO | None = None) -> None:
    """Print the ranking in the terminal."""
    out = stream or sys.stdout
    print_lines(pair_lines(ranking, stream_sheet(out)), out)
