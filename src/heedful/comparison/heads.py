"""Compare the head tables of two reports."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from heedful.comparison.record import HeadChange, redefined

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, HeadRow, Report

STATISTICS = ("effective_keys", "sink_mass", "previous_mass", "concentration", "max_weight", "self_mass", "local_mass")


def head_changes(before: Report, after: Report) -> tuple[list[HeadChange], str]:
    """Return the heads with the same module and index in both tables, and a note on unmatched heads.

    Pitfall: a head of a model that was trained anew has nothing but its place in common with its namesake.
    """
    ours, theirs = ({(row.module, row.head): row for row in report.heads} for report in (before, after))
    shared = [place for place in ours if place in theirs]
    if not shared:
        return [], "no module path and head is in both reports"
    alone = len(ours) + len(theirs) - 2 * len(shared)
    reason = f"{alone} heads are in one of the reports only" if alone else ""
    return [_change(ours[place], theirs[place]) for place in shared], reason


def _change(before: HeadRow, after: HeadRow) -> HeadChange:
    nan = math.nan
    return HeadChange(
        module=after.module,
        layer=after.layer,
        head=after.head,
        label=after.label,
        verdicts=(before.verdict, after.verdict),
        patterns=(before.pattern, after.pattern),
        differences={
            name: after.statistics.get(name, nan) - before.statistics.get(name, nan)
            for name in STATISTICS
            if name in before.statistics or name in after.statistics
        },
    )


def head_verdicts(before: Report, after: Report) -> dict[str, tuple[int, int]]:
    """Return, for each claim on heads, how many heads changed their verdict and how many are in both reports."""
    ours, theirs = (_by_head(report) for report in (before, after))
    shared = [key for key in ours if key in theirs and not redefined(ours[key], theirs[key])]
    compared = Counter(key[0] for key in shared)
    changed = Counter(key[0] for key in shared if theirs[key].verdict != ours[key].verdict)
    return {claim: (changed[claim], total) for claim, total in compared.items()}


def _by_head(report: Report) -> dict[tuple[str, int | None, int], Finding]:
    return {
        (one.claim, one.layer, one.head): one
        for section in report.sections
        for one in section.findings
        if one.head is not None
    }
