"""Compare two reports: find changed claims with intervals, changed verdicts and heads, and decide which changes are
regressions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from heedful.comparison.context import context_of
from heedful.comparison.difference import difference_of
from heedful.comparison.equivalence import MARGINS, answer, check_margins
from heedful.comparison.heads import head_changes, head_verdicts
from heedful.comparison.pairing import DocumentPairing, pair_documents
from heedful.comparison.record import Comparison, FindingChange
from heedful.comparison.regression import check_rules, rules_broken, sentence
from heedful.inference.multiplicity import holm

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, Report

_Key = tuple[str, int | None, int]


def compare(
    before: Report,
    after: Report,
    *,
    fail_on: Sequence[str] = ("verdict",),
    tolerance: float = 1.0,
    within: Mapping[str, float] = MappingProxyType({}),
    seed: int = 0,
) -> Comparison:
    """Compare two reports and return what changed.

    Estimates of the same claim are compared within the documents that both reports read (interval and sign flips of
    the differences), else by their two intervals, which is said. All p-values of a difference are one Holm family, and
    so are those of equivalence: a claim is EQUIVALENT where two one-sided tests show a difference smaller than its
    margin, DIFFERENT where one is shown and is not known to be so small, else NOT SETTLED.

    Args:
        before: The first report, the baseline.
        after: The second.
        fail_on: Rules of a regression: ``verdict``, ``fail``, ``effect`` or ``never`` (``core.comparison.FAIL_ON``).
        tolerance: Share of a claim's margin by which ``effect`` lets it become smaller.
        within: Differences that count as none, by claim or unit (``equivalence.MARGINS`` has the others).
        seed: Seed of sign flips.

    Returns:
        The comparison; ``failed`` says whether a rule is broken. ``effect`` is broken too where nothing is paired:
        a gate that opens on what it cannot judge is no gate.

    Raises:
        UsageError: A rule does not exist, the tolerance is negative, or a margin is not positive.
    """
    rules = tuple(dict.fromkeys(fail_on))
    check_rules(rules, tolerance)
    check_margins(within)
    pairing = pair_documents(before, after)
    changes = _adjusted(_changes(before, after, pairing, seed, within))
    changes = [replace(change, regressions=rules_broken(change, tolerance)) for change in changes]
    heads, reason = head_changes(before, after)
    return Comparison(
        names=(_name(before), _name(after)),
        verdicts=(str(before.verdict), str(after.verdict)),
        context=context_of(before, after),
        pairing=pairing.sentence,
        findings=changes,
        head_verdicts=head_verdicts(before, after),
        heads=heads,
        heads_reason=reason,
        fail_on=rules,
        regressions=[*_unjudged(rules, pairing), *filter(None, (sentence(change, rules) for change in changes))],
        settings={"level": 0.95, "seed": seed, "tolerance": tolerance, "within": {**MARGINS, **within}},
    )


def _unjudged(rules: tuple[str, ...], pairing: DocumentPairing) -> list[str]:
    return [f"effect: could not be judged: {pairing.sentence}"] if "effect" in rules and not pairing.enough else []


def _changes(
    before: Report, after: Report, pairing: DocumentPairing, seed: int, within: Mapping[str, float]
) -> list[FindingChange]:
    ours, theirs = _by_place(before), _by_place(after)
    keys = sorted(dict.fromkeys([*ours, *theirs]), key=lambda key: key[1] is not None)  # the model first; stable
    return [_change(key, ours.get(key), theirs.get(key), pairing, seed, within) for key in keys]


def _by_place(report: Report) -> dict[_Key, tuple[int, Finding]]:
    """Findings of the model and of layers by claim, layer and count of earlier ones at that place."""
    seen: Counter[tuple[str, int | None]] = Counter()
    found: dict[_Key, tuple[int, Finding]] = {}
    for section in report.sections:
        for one in section.findings:
            if one.head is None:
                found[one.claim, one.layer, seen[one.claim, one.layer]] = (section.number, one)
                seen[one.claim, one.layer] += 1
    return found


def _change(
    key: _Key,
    before: tuple[int, Finding] | None,
    after: tuple[int, Finding] | None,
    pairing: DocumentPairing,
    seed: int,
    within: Mapping[str, float],
) -> FindingChange:
    section = (after or before or (0,))[0]
    first, second = (None if one is None else one[1] for one in (before, after))
    found = difference_of(first, second, pairing, seed=seed, within=within)
    known = first or second
    threshold = None if first is None else first.threshold
    return FindingChange(
        claim=key[0],
        section=section,
        layer=key[1],
        before=first,
        after=second,
        difference=found.estimate,
        interval=found.interval,
        unit="" if known is None else known.unit,
        n=found.n,
        paired=found.paired,
        p=found.p,
        within=found.within,
        p_equivalent=found.p_equivalent,
        margin=None if threshold is None else abs(threshold),
        reason=found.reason,
    )


def _adjusted(changes: list[FindingChange]) -> list[FindingChange]:
    differ = _family([change.p for change in changes])
    alike = _family([change.p_equivalent for change in changes])
    return [
        replace(change, p_adjusted=one, p_equivalent=other, equivalence=answer(other, one))
        for change, one, other in zip(changes, differ, alike, strict=True)
    ]


def _family(given: Sequence[float | None]) -> list[float | None]:
    """Holm-adjusted p; None where there is none."""
    p = np.array([np.nan if one is None else one for one in given], dtype=np.float64)
    adjusted = holm(p) if len(p) else p
    return [None if np.isnan(value) else float(value) for value in adjusted]


def _name(report: Report) -> str:
    return str(report.model.get("name") or "unnamed")
