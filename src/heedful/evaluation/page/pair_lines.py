"""Render a ranking of heads by position pairs, for the terminal and as a page section."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from heedful.reporting.pages.part import PagePart
from heedful.reporting.paragraph import BLANK, Line, Sheet, line, paragraph
from heedful.reporting.shown_record import counted
from heedful.reporting.terminal import print_lines, stream_sheet

if TYPE_CHECKING:
    from heedful.interception.pair_ranking import PairRanking

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
