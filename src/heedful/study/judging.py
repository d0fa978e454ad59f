"""From arrays to findings: the path that every claim about heads, and every claim about one number, takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from heedful.core.result import Finding, Verdict
from heedful.inference import (
    Interval,
    bootstrap_t,
    count_discoveries,
    holm,
    judge,
    max_rank_p,
    mean_and_spread,
    minimal_detectable_effect,
    pooled_rank_p,
)
from heedful.study.evidence import Array
from heedful.study.study import Study

RANDOM_INIT = "untrained models of the same config"


@dataclass(frozen=True, kw_only=True)
class HeadClaim:
    """A claim that is judged head by head.

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


@dataclass(frozen=True)
class HeadTest:
    """Intervals and p-values of one claim for every head."""

    interval: Interval
    units: Array
    p: Array
    p_adjusted: Array
    null_available: bool
    detectable: Array


def test_heads(study: Study, claim: HeadClaim, values: Array, p: Array | None = None) -> HeadTest:
    """Interval, p and adjusted p of each head.

    Args:
        study: The study.
        claim: What is claimed.
        values: ``(sequence, all heads)``.
        p: ``(all heads,)`` p-values of a null of the claim's own; None takes the null models.

    Returns:
        The test; p is NaN where the claim has no null or it could not be built.
    """
    settings = study.settings
    units = study.units(values)
    if claim.as_log:
        units = np.log(np.clip(units, 1e-12, None))
    interval = bootstrap_t(units, resamples=settings.resamples, seed=settings.seed)
    heads = units.shape[1]
    _, spread, counts = mean_and_spread(units)
    detectable = np.asarray(minimal_detectable_effect(spread, np.maximum(counts, 1), tests=heads), dtype=float)
    if p is not None:
        return HeadTest(interval, counts, p, holm(p), True, detectable)
    nan = np.full(heads, math.nan)
    if claim.null_name is None:
        return HeadTest(interval, counts, nan, nan, True, detectable)
    null = study.nulls.get(claim.null_name)
    if null is None:
        return HeadTest(interval, counts, nan, nan, False, detectable)
    raw, adjusted = null_p(study, study.on_null_subset(claim.null_name), null)
    return HeadTest(interval, counts, raw, adjusted, True, detectable)


def null_p(study: Study, tested: Array, null: Array) -> tuple[Array, Array]:
    """p and family-adjusted p of each head against null models.

    Raw p pools the heads of a layer. The adjusted p is Holm's over those where R allows it to reach the significance level
    (a matter of R and the number of heads alone), else that of the largest standardised head of each model.

    Args:
        study: The study.
        tested: ``(all heads,)``.
        null: ``(model, all heads)``.
    """
    raw, start = np.full(len(tested), math.nan), 0
    floors = []
    for layer in study.observed.layers:
        part = slice(start, start + layer.heads)
        raw[part] = pooled_rank_p(tested[part], null[:, part])
        floors.append(1 / (len(null) * layer.heads + 1))
        start += layer.heads
    if max(floors) * len(tested) <= study.settings.alpha:
        return raw, holm(raw)
    return raw, np.asarray(max_rank_p(tested, null), dtype=float)


def head_findings(
    study: Study, claim: HeadClaim, values: Array, p: Array | None = None, null: str = ""
) -> list[Finding]:
    """One finding for the model and one for each head.

    Args:
        study: The study.
        claim: What is claimed.
        values: ``(sequence, all heads)``.
        p: p-values of a null of the claim's own.
        null: That null in words.
    """
    test = test_heads(study, claim, values, p)
    words = null or (RANDOM_INIT if claim.null_name else "none: an effect size with a margin")
    if claim.null_name and test.null_available:
        words = f"{len(study.nulls[claim.null_name])} {RANDOM_INIT}"
    elif claim.null_name:
        words = f"not available: {study.null_reason}"
    found, position = [], 0
    for layer in study.observed.layers:
        for head in range(layer.heads):
            found.append(_one_head(study, claim, test, position, layer.layer, head, words))
            position += 1
    return [_overall(study, claim, test, found, words), *found]


def _one_head(
    study: Study, claim: HeadClaim, test: HeadTest, position: int, layer: int, head: int, null: str
) -> Finding:
    margins = (claim.present_above, claim.absent_below)
    if claim.as_log:
        margins = (math.log(claim.present_above), math.log(claim.absent_below))
    at = test.interval.at(position)
    adjusted = float(test.p_adjusted[position])
    verdict, reason = judge(
        at,
        present_above=margins[0],
        absent_below=margins[1],
        units=int(test.units[position]),
        p_adjusted=None if math.isnan(adjusted) else adjusted,
        null_available=test.null_available,
        smallest=study.settings.least_units,
        detectable=_number(test.detectable[position]),
    )
    shown = [math.exp(x) if claim.as_log else x for x in (float(at.estimate), float(at.low), float(at.high))]
    if claim.as_log:
        reason = (
            f"{claim.what}: {shown[0]:.3g} [{shown[1]:.3g}, {shown[2]:.3g}] {claim.unit}; on the log scale, {reason}"
        )
    return Finding(
        claim=claim.claim,
        verdict=verdict,
        reason=reason,
        estimate=shown[0],
        interval=(shown[1], shown[2]),
        unit=claim.unit,
        n=int(test.units[position]),
        null=null,
        p=_number(test.p[position]),
        p_adjusted=_number(adjusted),
        threshold=claim.present_above,
        source=claim.source,
        layer=layer,
        head=head,
    )


def _discoveries(study: Study, test: HeadTest) -> tuple[int | None, str]:
    """Number of heads beyond the null, and by which procedure it was counted.

    Benjamini-Hochberg over pooled p-values where the null models are enough for one head to be counted; else the
    family-wise p-values, which need no more than 19 models.
    """
    if not np.isfinite(test.p).any():
        return None, ""
    if np.array_equal(test.p_adjusted, np.asarray(holm(test.p)), equal_nan=True):
        return count_discoveries(test.p), "BH, q = .05"
    return int(np.nansum(test.p_adjusted <= study.settings.alpha)), "family-wise, 5 %"


def _number(value: float) -> float | None:
    return None if not math.isfinite(value) else float(value)


def overall_verdict(verdicts: list[Verdict]) -> Verdict:
    """Verdict on a model from those on its heads: present in any, absent in all, else the weakest statement that holds."""
    if not verdicts:
        return Verdict.UNDEFINED
    for verdict in (Verdict.FAIL, Verdict.PASS):
        if verdict in verdicts:
            return verdict
    if all(v in (Verdict.ABSENT, Verdict.UNDEFINED) for v in verdicts):
        return Verdict.ABSENT if Verdict.ABSENT in verdicts else Verdict.UNDEFINED
    return Verdict.INSUFFICIENT if Verdict.INSUFFICIENT in verdicts and Verdict.WARN not in verdicts else Verdict.WARN


def _words(study: Study, claim: HeadClaim, verdict: Verdict, strongest: Finding, named: int, total: int) -> str:
    """One sentence on a model's heads; the numbers stand in the finding's own fields."""
    size = f"{strongest.estimate:.3g} {claim.unit}"
    if claim.as_factor and strongest.estimate is not None:
        size = f"a factor of {math.exp(strongest.estimate):.3g}"
    effect = f"{claim.what} {size} in L{strongest.layer}H{strongest.head}"
    if verdict is Verdict.PASS:
        return f"{named} of {total} heads show it; strongest: {effect}"
    if verdict is Verdict.ABSENT:
        return f"no head reaches the margin; largest: {effect}"
    if verdict is Verdict.UNDEFINED:
        return f"{claim.what} is defined for no head here"
    if verdict is Verdict.INSUFFICIENT:
        return f"{strongest.n} documents, at least {study.settings.least_units} are needed; largest: {effect}"
    clears = strongest.interval is not None and strongest.interval[0] > claim.present_above
    if clears and claim.null_name is not None and claim.null_name not in study.nulls:
        return f"beyond the margin, but compared with no untrained model; largest: {effect}"
    if clears and strongest.p_adjusted is not None and strongest.p_adjusted > study.settings.alpha:
        return f"beyond the margin, but untrained models show as much; largest: {effect}"
    return f"not settled: the intervals hold the margin; largest: {effect}"


def _overall(study: Study, claim: HeadClaim, test: HeadTest, found: list[Finding], null: str) -> Finding:
    named = sorted((f for f in found if f.verdict is Verdict.PASS), key=lambda f: -(f.estimate or 0.0))
    counted, way = _discoveries(study, test)
    strongest = max(
        found, key=lambda f: f.estimate if f.estimate is not None and f.estimate == f.estimate else -math.inf
    )
    verdict = overall_verdict([f.verdict for f in found])
    place = f"L{strongest.layer}H{strongest.head}"
    reason = _words(study, claim, verdict, strongest, len(named), len(found))
    if counted is not None:
        reason += f"; {counted} beyond the null ({way})"
    return Finding(
        claim=claim.claim,
        verdict=verdict,
        reason=reason,
        estimate=strongest.estimate,
        interval=strongest.interval,
        unit=claim.unit,
        n=strongest.n,
        null=null,
        p=strongest.p,
        p_adjusted=strongest.p_adjusted,
        threshold=claim.present_above,
        source=claim.source,
        detail={
            "heads": len(found),
            "pass": len(named),
            "absent": sum(f.verdict is Verdict.ABSENT for f in found),
            "discoveries": counted,
            "strongest": place,
            "named": [f"L{f.layer}H{f.head} {f.estimate:.3g}" for f in named[:6]],
        },
    )
