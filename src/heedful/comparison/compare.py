"""Compare two reports: find changed claims with intervals, changed verdicts and heads, and decide which changes are
regressions.

List what differs between two reports besides results: models, texts, settings, versions.

Decide which changes are regressions, by rule.

Compare the head tables of two reports.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from heedful.comparison.difference import MARGINS, DocumentPairing, answer, check_margins, difference_of, pair_documents
from heedful.comparison.record import FAIL_ON, Comparison, FindingChange, HeadChange, redefined
from heedful.errors import UsageError
from heedful.inference.multiplicity import holm
from heedful.inference.verdict import Verdict

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, HeadRow, Report


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


_PARTS = ("model", "data", "settings", "versions")
_UNTOLD = frozenset({"notes", "document_fingerprints"})


def context_of(before: Report, after: Report) -> list[tuple[str, str, str]]:
    """Return (name, before, after) for each fact that differs; ``-`` means the report lacks it."""
    found = []
    for part in _PARTS:
        ours, theirs = (_flat(getattr(report, part)) for report in (before, after))
        for name in dict.fromkeys([*ours, *theirs]):
            first, second = ours.get(name, "-"), theirs.get(name, "-")
            if first != second:
                found.append((f"{part}: {name.replace('_', ' ')}", first, second))
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if name in _UNTOLD:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _word(value, name)
    return flat


def _word(value: Any, name: str) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)[:12] if name == "fingerprint" else str(value)


ALPHA = 0.05
_BROKEN = (Verdict.FAIL, Verdict.ERROR)
_UNJUDGED = (Verdict.SKIP, Verdict.UNDEFINED)
_JUDGED = (Verdict.PASS, Verdict.WARN, Verdict.ABSENT, Verdict.FAIL)


def check_rules(fail_on: tuple[str, ...], tolerance: float) -> None:
    """Raise an error if a rule does not exist or cannot be combined with another.

    Raises:
        UsageError: A rule is unknown, ``never`` stands beside another, or the tolerance is negative.
    """
    unknown = [rule for rule in fail_on if rule not in FAIL_ON]
    if unknown or not fail_on:
        raise UsageError(f"fail-on: expected some of {', '.join(FAIL_ON)}; got {', '.join(unknown) or 'nothing'}")
    if "never" in fail_on and len(set(fail_on)) > 1:
        raise UsageError(f"fail-on: never excludes every other rule; got {', '.join(fail_on)}")
    if not 0.0 <= tolerance < float("inf"):
        raise UsageError(f"tolerance: expected a number from 0 up, got {tolerance}")


def rules_broken(change: FindingChange, tolerance: float) -> tuple[str, ...]:
    """Return the rules of ``FAIL_ON`` that a change breaks.

    ``fail``: FAIL or ERROR where there was none, of the model or of a layer. ``verdict``: that, or a claim of the model
    that no longer passes: because its effect is shown to be smaller (adjusted p of at most 5 %), because it has no
    interval to tell by, or because the second report does not judge it. ``effect``: a claim that is judged by its
    size has become smaller by more than ``tolerance`` times its margin: paired, by the whole interval, and with an
    adjusted p of at most 5 %. A claim whose definition is another one in the second report breaks none.

    Args:
        change: The change, its regressions not yet known.
        tolerance: Share of a claim's margin.
    """
    if change.redefined:
        return ()
    before = change.before.verdict if change.before else None
    after = change.after.verdict if change.after else None
    broken = []
    failed = after in _BROKEN and before not in _BROKEN
    lost = change.layer is None and before is Verdict.PASS and after is not Verdict.PASS and not _alike(change)
    if failed or lost:
        broken.append("verdict")
    if failed:
        broken.append("fail")
    if _smaller(change, tolerance) and before in _JUDGED and after in _JUDGED:
        broken.append("effect")
    return tuple(broken)


def _alike(change: FindingChange) -> bool:
    """Whether both reports have an estimate with its interval, and no loss is shown: less text alone is none."""
    if change.interval is None or change.after is None or change.after.verdict in _UNJUDGED:
        return False
    if change.p_adjusted is None:
        return not change.interval[1] < 0
    return change.p_adjusted > ALPHA or not (change.difference or 0.0) < 0


def _smaller(change: FindingChange, tolerance: float) -> bool:
    if not change.paired or change.interval is None or change.margin is None or change.p_adjusted is None:
        return False
    return change.p_adjusted <= ALPHA and change.interval[1] < -tolerance * change.margin


def sentence(change: FindingChange, rules: tuple[str, ...]) -> str:
    """Return one sentence on a regression; "" if the change breaks none of ``rules``."""
    hit = [rule for rule in change.regressions if rule in rules]
    if not hit:
        return ""
    place = change.claim if change.layer is None else f"{change.claim} (layer {change.layer})"
    before, after = (word if word != "-" else "not in the report" for word in change.verdicts)
    message = f"{place}: {before} -> {after}"
    if hit == ["effect"] and change.interval is not None:
        bounds = f"[{change.interval[0]:.3g}, {change.interval[1]:.3g}]"
        return f"{place}: smaller by {-(change.difference or 0.0):.3g} {change.unit}, difference {bounds}"
    return f"{message}: {change.after.reason}" if change.after is not None else message


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
    return [_head_change(ours[place], theirs[place]) for place in shared], reason


def _head_change(before: HeadRow, after: HeadRow) -> HeadChange:
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
