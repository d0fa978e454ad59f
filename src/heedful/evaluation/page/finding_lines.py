"""Render a finding in lines: verdict and claim, reason, numbers, and the heads that matter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.reporting.marks import ellipsis, mark, style
from heedful.reporting.paragraph import Line, Sheet, flow, listed, paragraph
from heedful.reporting.quantity import count, interval, margin, probability, quantity

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding

INDENT = " " * 10
NAMED = 6
"""Heads named under one finding; the others stand in the JSON document and in ``heedful heads``."""
_LOUD = ("FAIL", "ERROR")


def verdict_line(verdict: str, text: str, page: Sheet) -> list[Line]:
    """Return lines with the verdict's symbol and word, followed by ``text`` in an aligned column."""
    word = f"{mark(verdict, page.encoding)} {verdict:<6}"
    lines = paragraph(page.text(text), page.width, indent=INDENT, first=f"{word}  ")
    return [((word, style(verdict)), ("  ", ""), *lines[0][1:]), *lines[1:]]


def finding_lines(finding: Finding, page: Sheet) -> list[Line]:
    """Return all lines of a finding: claim, reason, evidence, named heads, and the meaning of the claim."""
    lines = verdict_line(finding.verdict, _subject(finding), page)
    lines += paragraph(page.text(finding.reason), page.width, indent=INDENT)
    evidence = flow((page.text(piece) for piece in _evidence(finding)), "  ", page.width - len(INDENT))
    lines += [((INDENT, ""), (row, "dim")) for row in evidence]
    lines += paragraph(page.text(_comparison(finding)), page.width, indent=INDENT, style="dim")
    lines += _named(finding, page)
    if finding.meaning and str(finding.verdict) != "SKIP":
        lines += paragraph(page.text(f"Meaning: {finding.meaning}"), page.width, indent=INDENT)
    return lines


def head_tally(findings: Sequence[Finding], page: Sheet) -> list[Line]:
    """Return lines that count the head verdicts of one claim and name every failed head."""
    if not findings:
        return []
    counts = Counter(str(finding.verdict) for finding in findings)
    tally = ", ".join(f"{counted} {verdict}" for verdict, counted in counts.most_common())
    lines = paragraph(f"{count(len(findings), 'head')}: {tally}", page.width, indent=INDENT)
    for verdict in _LOUD:
        names = [f"L{finding.layer}H{finding.head}" for finding in findings if finding.verdict == verdict]
        lines += _few(f"{verdict}:", names, page)
    return lines


def _subject(finding: Finding) -> str:
    return finding.claim if finding.layer is None else f"{finding.claim} (layer {finding.layer})"


def _evidence(finding: Finding) -> list[str]:
    pieces = [_estimate(finding.estimate, finding.unit)] if finding.estimate is not None else []
    if finding.interval is not None and not all(math.isnan(bound) for bound in finding.interval):
        pieces.append(interval(finding.interval))
    if finding.threshold is not None:
        pieces.append(margin(finding.threshold))
    return pieces + ([f"n = {finding.n}"] if finding.n else [])


def _estimate(value: float, unit: str) -> str:
    return "estimate undefined" if math.isnan(value) else quantity(value, unit)


def _comparison(finding: Finding) -> str:
    found = (("p", finding.p), ("adjusted p", finding.p_adjusted))
    pieces = [probability(name, value) for name, value in found if value is not None and not math.isnan(value)]
    return "; ".join(pieces + ([f"null: {finding.null}"] if finding.null else []))


def _named(finding: Finding, page: Sheet) -> list[Line]:
    named = finding.detail.get("named", ())
    if isinstance(named, str) or not isinstance(named, Sequence) or not named:
        return []
    return _few("heads:", [page.text(name) for name in named], page)


def _few(title: str, names: Sequence[str], page: Sheet) -> list[Line]:
    if not names:
        return []
    more = len(names) - NAMED
    shown = [f"{title} {names[0]}", *names[1:NAMED]] + (
        [f"{ellipsis(page.encoding)} and {more} more"] if more > 0 else []
    )
    return [((INDENT, ""), (row, "")) for row in listed(shown, page.width - len(INDENT))]
