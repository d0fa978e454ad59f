"""Prepare the nine sections of the HTML page: one row per claim, with its evidence in a collapsible part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heedful.evaluation.registry import SECTION_TITLES
from heedful.reporting.marks import VERDICTS, mark
from heedful.reporting.quantity import interval, margin, number, probability, quantity

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, Report

NAMED = 24
"""Heads named as links behind one claim."""

_LOOKS = {
    "PASS": "good",
    "FAIL": "bad",
    "ERROR": "bad",
    "WARN": "care",
    "INSUFFICIENT DATA": "care",
    "UNDEFINED": "care",
    "SHARP": "good",
    "SELECTIVE": "good",
    "WEAK": "care",
    "DIFFUSE": "bad",
}


@dataclass(frozen=True)
class Badge:
    """A verdict with its symbol, word and CSS class."""

    mark: str
    word: str
    look: str


@dataclass(frozen=True)
class Whisker:
    """An estimate with its interval and margin, as horizontal positions from 0 to 100 percent."""

    low: float
    mid: float
    high: float
    margin: float | None


@dataclass(frozen=True)
class Row:
    """One finding as a table row, with its evidence in a collapsible part."""

    claim: str
    badge: Badge
    estimate: str
    reason: str
    meaning: str
    facts: tuple[tuple[str, str], ...]
    whisker: Whisker | None
    tally: tuple[tuple[Badge, int], ...]
    heads: tuple[str, ...]
    more_heads: int
    layers: tuple[tuple[str, Badge, str, str], ...]
    on_map: bool


@dataclass(frozen=True)
class SectionBlock:
    """One of the nine sections with its rows."""

    number: int
    title: str
    rows: tuple[Row, ...]


def badge(verdict: str) -> Badge:
    """Return the symbol, word and CSS class of a verdict."""
    return Badge(mark(verdict, "utf-8") if verdict in VERDICTS else "", verdict, _LOOKS.get(verdict, "calm"))


def blocks(report: Report) -> list[SectionBlock]:
    """Return the nine sections; a section that the report lacks has no rows."""
    found = {section.number: section for section in report.sections}
    return [
        SectionBlock(
            count,
            found[count].title if count in found else title,
            _rows(found[count].findings) if count in found else (),
        )
        for count, title in SECTION_TITLES.items()
    ]


def counts(report: Report) -> list[tuple[Badge, int]]:
    """Return the number of model-level claims by verdict."""
    findings = [one for section in report.sections for one in section.findings if _whole(one)]
    counted = Counter(str(one.verdict) for one in findings)
    return [(badge(verdict), counted[verdict]) for verdict in VERDICTS if counted[verdict]]


def _whole(finding: Finding) -> bool:
    return finding.layer is None and finding.head is None


def _rows(findings: Sequence[Finding]) -> tuple[Row, ...]:
    claims = dict.fromkeys(finding.claim for finding in findings)
    return tuple(
        row for claim in claims for row in _claim_rows([finding for finding in findings if finding.claim == claim])
    )


def _claim_rows(findings: list[Finding]) -> list[Row]:
    """The rows of one claim: one for the model, which carries its layers and heads."""
    whole = [finding for finding in findings if _whole(finding)]
    layers = [finding for finding in findings if finding.layer is not None and finding.head is None]
    heads = [finding for finding in findings if finding.head is not None]
    first = whole[0] if whole else findings[0]
    return [_row(first, layers, heads), *(_row(finding, [], []) for finding in whole[1:])]


def _row(finding: Finding, layers: list[Finding], heads: list[Finding]) -> Row:
    counted = Counter(str(head.verdict) for head in heads)
    passing = sorted((one for one in heads if one.verdict == "PASS"), key=lambda one: -(one.estimate or 0.0))
    return Row(
        claim=finding.claim,
        badge=badge(str(finding.verdict)),
        estimate="" if finding.estimate is None else quantity(finding.estimate, finding.unit),
        reason=finding.reason,
        meaning=finding.meaning,
        facts=_facts(finding),
        whisker=_whisker(finding),
        tally=tuple((badge(verdict), total) for verdict, total in counted.most_common()),
        heads=tuple(f"L{one.layer}H{one.head}" for one in passing[:NAMED]),
        more_heads=max(0, len(passing) - NAMED),
        layers=tuple(_layer(one) for one in layers),
        on_map=any(head.estimate is not None for head in heads),
    )


def _facts(finding: Finding) -> tuple[tuple[str, str], ...]:
    found = [("estimate", quantity(finding.estimate, finding.unit))] if finding.estimate is not None else []
    if finding.interval is not None and not all(math.isnan(bound) for bound in finding.interval):
        found.append(("95 % interval", interval(finding.interval).removeprefix("95% ")))
    if finding.threshold is not None:
        found.append(("margin", margin(finding.threshold).removeprefix("margin ")))
    if finding.n:
        found.append(("documents", f"{finding.n:,}"))
    for name, value in (("p", finding.p), ("adjusted p", finding.p_adjusted)):
        if value is not None and not math.isnan(value):
            found.append((name, probability(name, value).removeprefix(name).strip().removeprefix("= ")))
    found += [(name, text) for name, text in (("compared with", finding.null), ("source", finding.source)) if text]
    return tuple(found)


def _layer(finding: Finding) -> tuple[str, Badge, str, str]:
    signature = finding.detail.get("signature")
    estimate = number(finding.estimate) if finding.estimate is not None else str(signature or "")
    known = finding.interval is not None and not all(math.isnan(bound) for bound in finding.interval)
    bounds = interval(finding.interval).removeprefix("95% ") if known and finding.interval is not None else ""
    return f"L{finding.layer}", badge(str(finding.verdict)), estimate, bounds


def _whisker(finding: Finding) -> Whisker | None:
    if finding.estimate is None or finding.interval is None:
        return None
    low, high = finding.interval
    known = [low, finding.estimate, high, 0.0, *([finding.threshold] if finding.threshold is not None else [])]
    if not all(math.isfinite(value) for value in known) or max(known) <= min(known):
        return None
    least, most = min(known), max(known)

    def place(value: float) -> float:
        return round(4 + 92 * (value - least) / (most - least), 2)

    at_margin = None if finding.threshold is None else place(finding.threshold)
    return Whisker(place(low), place(finding.estimate), place(high), at_margin)
