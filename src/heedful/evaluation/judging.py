"""Turn values per document and head into verdicts; every claim about heads uses this code."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from heedful.evaluation.evidence import Array
from heedful.evaluation.null_comparison import NullComparison, margin, margin_p, untrained
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.evaluation.unit_values import unit_values
from heedful.inference.interval import Interval
from heedful.inference.margin import judge
from heedful.inference.mean_interval import UNBOUNDED, mean_interval
from heedful.inference.skewness import reach, units_for
from heedful.inference.units import ROUNDING, mean_and_spread
from heedful.inference.verdict import Verdict

LARGEST_EXPONENT = 700.0
"""Log ratios beyond are shown as this one: the factor would not be a float."""


@dataclass(frozen=True, kw_only=True)
class HeadClaim:
    """Definition of a claim that is judged for each head: effect, unit, margins, null comparison.

    Attributes:
        claim: Registry name.
        what: The effect in words, for the reasons ("mass on the previous token").
        unit: Unit of the values.
        present_above: Margin that the whole interval must exceed.
        absent_below: Margin below which the effect is absent.
        source: Where definition and margin come from.
        null_name: Statistic of the null models that fits, or None where the claim has no such null.
        as_log: Judge the geometric mean over documents: intervals and margins on the log scale, shown on the plain one.
        as_factor: Values are log ratios, to be shown as factors in words.
        of: What the factor multiplies ("their uniform share"): the effect then reads "5.86 times their uniform share".
        counted: What the independent units are.
        within: Least and largest value that the mean can have.
    """

    claim: str
    what: str
    unit: str
    present_above: float
    absent_below: float
    source: str
    null_name: str | None = None
    as_log: bool = False
    as_factor: bool = False
    of: str = ""
    counted: str = "document"
    within: tuple[float, float] = UNBOUNDED

    @property
    def margins(self) -> tuple[float, float]:
        """Margins for "present" and "absent", on the scale of the intervals (log scale if ``as_log``)."""
        if self.as_log:
            return math.log(self.present_above), math.log(self.absent_below)
        return self.present_above, self.absent_below

    def on_scale(self, units: Array) -> Array:
        """Convert document values to the scale of the intervals (log scale if ``as_log``)."""
        return np.asarray(np.log(np.clip(units, ROUNDING, None))) if self.as_log else units

    def sentence(self, estimate: float) -> str:
        """Return a phrase with the effect and its size."""
        size = self.shown(estimate)
        return f"{self.what} {size.removeprefix('a factor of ')} times {self.of}" if self.of else f"{self.what} {size}"

    def shown(self, estimate: float) -> str:
        """Return the effect size as text with its unit."""
        if self.as_factor:
            factor = math.exp(min(estimate, LARGEST_EXPONENT))
            return f"a factor of {factor:,.0f}" if 1e3 <= factor < 1e7 else f"a factor of {factor:.3g}"
        return f"{estimate:.3g}" if self.what.startswith(self.unit) else f"{estimate:.3g} {self.unit}"


@dataclass(frozen=True)
class HeadIntervals:
    """Confidence interval, number of documents, spread and adjusted p-value of each head."""

    interval: Interval
    units: Array
    spread: Array
    family: Array

    def detectable(self, position: int) -> float:
        """Return the smallest effect beyond the margin that is detected with 80 % power, adjusted for all heads."""
        units = float(self.units[position])
        return float(reach(units, len(self.family))) * float(self.spread[position]) / math.sqrt(max(units, 1.0))

    def needed(self, position: int, beyond: float) -> float:
        """Return the number of documents needed to detect, with 80 % power, an effect that exceeds the margin by
        ``beyond``.
        """
        spread = float(self.spread[position])
        return units_for(beyond / spread, len(self.family)) if spread > 0 else math.inf

    def after_family(self, position: int, verdict: Verdict, reason: str, above: float, alpha: float) -> _Answer:
        """Downgrade a PASS that does not exceed the margin after adjustment for all heads."""
        adjusted = float(self.family[position])
        if verdict is not Verdict.PASS or adjusted <= alpha:
            return verdict, reason
        beyond = float(np.asarray(self.interval.estimate)[position]) - above
        takes = max(self.units[position] + 1.0, self.needed(position, beyond))
        message = f"{reason}, but not after adjustment for all heads (adjusted p {adjusted:.3g} > {alpha:g})"
        return Verdict.WARN, f"{message}; about {takes:.0f} units are needed" if math.isfinite(takes) else message


_Answer = tuple[Verdict, str]


def head_findings(
    study: Study, claim: HeadClaim, units: Array, comparison: NullComparison | None = None, null: str = ""
) -> list[Finding]:
    """Return the findings of a claim: one for the model and one for each head.

    Args:
        study: The study.
        claim: What is claimed.
        units: ``(independent unit, all heads)``, mostly ``study.units`` of ``(sequence, all heads)``.
        comparison: A comparison of the claim's own; None takes the null models where the claim names a statistic of
            theirs, else the margin.
        null: What the effect is counted from, in words, for claims that are compared with the margin.
    """
    if comparison is None and claim.null_name is not None:
        comparison = untrained(study, claim.null_name)
    elif comparison is None:
        words = f"an effect at the margin, {claim.shown(claim.present_above)}" + (f"; {null}" if null else "")
        comparison = margin(study, claim.on_scale(units), claim.margins[0], words)
    measured = _measured(study, claim, units)
    found, position = [], 0
    for layer in study.observed.layers:
        for head in range(layer.heads):
            found.append(_one_head(study, claim, measured, comparison, position, (layer.layer, head)))
            position += 1
    overall = _overall(study, claim, comparison, found)
    if claim.counted == "document":
        overall = _with_units(claim, overall, found, units)
    return [overall, *found]


def _measured(study: Study, claim: HeadClaim, units: Array) -> HeadIntervals:
    units = claim.on_scale(units)
    interval = mean_interval(units, within=claim.within)
    _, spread, counts = mean_and_spread(units)
    family = margin_p(units, claim.margins[0])[1]
    return HeadIntervals(interval, np.asarray(counts, dtype=float), np.asarray(spread, dtype=float), family)


def _one_head(
    study: Study,
    claim: HeadClaim,
    measured: HeadIntervals,
    comparison: NullComparison,
    position: int,
    place: tuple[int, int],
) -> Finding:
    at, units = measured.interval.at(position), int(measured.units[position])
    verdict, reason = judge(
        at,
        present_above=claim.margins[0],
        absent_below=claim.margins[1],
        units=units,
        null_available=comparison.available,
        smallest=study.settings.least_units,
        detectable=_number(measured.detectable(position)) if math.isfinite(at.high - at.low) else None,
        needed=partial(measured.needed, position),
    )
    alpha = study.settings.alpha
    verdict, reason = measured.after_family(position, verdict, reason, claim.margins[0], alpha)
    verdict, reason = comparison.verdict(position, verdict, reason, alpha)
    shown = [math.exp(x) if claim.as_log else x for x in (float(at.estimate), float(at.low), float(at.high))]
    if claim.as_log and verdict is not Verdict.UNDEFINED:
        plain = Interval(shown[0], shown[1], shown[2], units, at.level)
        reason = f"{claim.what}: {plain.text()} {claim.unit}; on the log scale, {reason}"
    return Finding(
        claim=claim.claim,
        verdict=verdict,
        reason=reason,
        estimate=shown[0],
        interval=(shown[1], shown[2]),
        unit=claim.unit,
        n=units,
        null=comparison.null,
        p=_number(comparison.p[position]),
        p_adjusted=_number(comparison.p_adjusted[position]),
        threshold=claim.absent_below if verdict is Verdict.ABSENT else claim.present_above,
        source=claim.source,
        layer=place[0],
        head=place[1],
    )


def _number(value: float) -> float | None:
    return None if not math.isfinite(value) else float(value)


def overall_verdict(verdicts: list[Verdict]) -> Verdict:
    """Combine head verdicts: FAIL if any head fails, else PASS if any passes, ABSENT if all are absent, or else WARN or
    INSUFFICIENT.
    """
    if not verdicts:
        return Verdict.UNDEFINED
    for verdict in (Verdict.FAIL, Verdict.PASS):
        if verdict in verdicts:
            return verdict
    if all(v in (Verdict.ABSENT, Verdict.UNDEFINED) for v in verdicts):
        return Verdict.ABSENT if Verdict.ABSENT in verdicts else Verdict.UNDEFINED
    return Verdict.INSUFFICIENT if Verdict.INSUFFICIENT in verdicts and Verdict.WARN not in verdicts else Verdict.WARN


def _overall(study: Study, claim: HeadClaim, comparison: NullComparison, found: list[Finding]) -> Finding:
    named = sorted((f for f in found if f.verdict is Verdict.PASS), key=lambda f: -(f.estimate or 0.0))
    verdict = overall_verdict([f.verdict for f in found])
    strongest = named[0] if named else max(found, key=_size)
    reason = _in_words(claim, verdict, strongest, found)
    if comparison.found is not None:
        reason += f"; {comparison.found} {comparison.counted}"
    return Finding(
        claim=claim.claim,
        verdict=verdict,
        reason=reason,
        estimate=strongest.estimate,
        interval=strongest.interval,
        unit=claim.unit,
        n=strongest.n,
        null=comparison.null,
        p=strongest.p,
        p_adjusted=strongest.p_adjusted,
        threshold=claim.absent_below if verdict is Verdict.ABSENT else claim.present_above,
        source=claim.source,
        detail={
            "heads": len(found),
            "pass": len(named),
            "absent": sum(f.verdict is Verdict.ABSENT for f in found),
            "discoveries": comparison.found,
            "strongest": f"L{strongest.layer}H{strongest.head}",
            "named": [f"L{f.layer}H{f.head} {f.estimate:.3g}" for f in named[:6]],
        },
    )


def _with_units(claim: HeadClaim, overall: Finding, found: list[Finding], units: Array) -> Finding:
    """The model's finding with the documents of the head that it tells of."""
    names = [f"L{finding.layer}H{finding.head}" for finding in found]
    values = unit_values(units[:, names.index(overall.detail["strongest"])])
    return replace(overall, units=values, detail={**overall.detail, "scale": "log"} if claim.as_log else overall.detail)


def _size(finding: Finding) -> float:
    """Estimate to sort by; undefined ones last."""
    return -math.inf if finding.estimate is None or math.isnan(finding.estimate) else finding.estimate


def _in_words(claim: HeadClaim, verdict: Verdict, strongest: Finding, found: list[Finding]) -> str:
    """What the heads' findings say together, in one sentence."""
    place, effect = f"L{strongest.layer}H{strongest.head}", claim.sentence(_size(strongest))
    if verdict is Verdict.PASS:
        count = sum(f.verdict is Verdict.PASS for f in found)
        return f"{count} of {len(found)} heads {'shows' if count == 1 else 'show'} it; strongest {place}: {effect}"
    if verdict is Verdict.ABSENT:
        return f"no head reaches the margin; largest {place}: {effect}"
    if verdict is Verdict.UNDEFINED:
        return f"{claim.what} is defined for no head here"
    if verdict is Verdict.INSUFFICIENT:
        lacking = max((f for f in found if f.verdict is verdict), key=_size)
        return f"too little text to judge; L{lacking.layer}H{lacking.head}: {lacking.reason}"
    return f"not settled; largest {place}: {effect}; {strongest.reason}"
