"""Render answers to published claims for the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TextIO

from heedful.evaluation.result import Finding
from heedful.reporting.marks import mark, style
from heedful.reporting.paragraph import BLANK, Line, Sheet, line, listed, paragraph, print_lines, stream_sheet
from heedful.reporting.quantity import interval, number, probability, quantity
from reproductions.answer import OF_VERDICT, Answer
from reproductions.judging import Answered
from reproductions.notes import NOTES

TITLE = "PUBLISHED CLAIMS"
_VERDICT = {answer: str(verdict) for verdict, answer in OF_VERDICT.items()}
_INDENT = "    "


def claim_lines(answers: Sequence[Answered], page: Sheet) -> list[Line]:
    """Return one block of lines per claim under its note's title, and a count of answers.

    Args:
        answers: What to show.
        page: What to write on.
    """
    rule = line("=" * page.width)
    lines = [rule, line(TITLE, "bold"), rule]
    for name, group in groupby(answers, key=lambda one: one.note):
        note = NOTES[name]
        lines += [BLANK, *paragraph(note.heading, page.width, style="bold"), line("-" * page.width)]
        for one in group:
            lines += [*_claim(one, page), BLANK]
    counts = Counter(one.answer for one in answers)
    messages = [f"{counts[answer]} {answer}" for answer in Answer if counts[answer]] or ["no claim"]
    return [*lines, *(line(part) for part in listed(messages, page.width)), rule]


def print_claims(answers: Sequence[Answered], stream: TextIO | None = None) -> None:
    """Print the page, in colour if the stream is a terminal that supports it.

    Args:
        answers: What to show.
        stream: Where; standard output by default.
    """
    out = stream or sys.stdout
    print_lines(claim_lines(answers, stream_sheet(out)), out)


def numbers(finding: Finding) -> str:
    """Estimate, interval, units, p, threshold and null of a finding, as far as it has them."""
    if finding.estimate is None:
        return ""
    parts = [quantity(finding.estimate, finding.unit)]
    if finding.interval is not None:
        parts.append(interval(finding.interval))
    if finding.n:
        parts.append(f"n = {finding.n}")
    if finding.p is not None:
        parts.append(probability("p", finding.p))
    band = finding.detail.get("band")
    if band is not None:
        parts.append(f"band {number(band[0])} to {number(band[1])}")
    elif finding.threshold is not None:
        parts.append(f"threshold {number(finding.threshold)}")
    null = f"; null: {finding.null}" if finding.null else ""
    return ", ".join(parts) + null


def _claim(one: Answered, page: Sheet) -> list[Line]:
    verdict = _VERDICT[one.answer]
    head = f"{mark(verdict, page.encoding)} {str(one.answer).upper()}"
    lines: list[Line] = [((head, style(verdict)), (f"  {page.text(one.name)}", "bold"))]
    lines += paragraph(page.text(f"{one.sentence} Published: {one.figure}"), page.width, indent=_INDENT)
    for finding in one.findings:
        own = mark(str(finding.verdict), page.encoding)
        lines += paragraph(page.text(_line(finding)), page.width, indent=_INDENT + "  ", first=f"{_INDENT}{own} ")
    return lines


def _line(finding: Finding) -> str:
    measured = numbers(finding)
    return f"{finding.reason} ({measured})" if measured else finding.reason
