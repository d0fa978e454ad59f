"""Judge how replacing attention changes the loss, for the model, each layer and each head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from heedful.evaluation.ablation import fractions_of, interim_ends
from heedful.evaluation.evidence import Array
from heedful.evaluation.null_comparison import with_p
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.evaluation.unit_values import first_unit_values
from heedful.inference.interim_analyses import repeated_interval, repeated_p
from heedful.inference.interval import Interval
from heedful.inference.margin import equivalent, judge
from heedful.inference.multiplicity import holm
from heedful.inference.skewness import skew_p, skew_t
from heedful.inference.units import mean_of
from heedful.inference.verdict import Verdict

MEANINGS = {
    "zero": "attention's output removed",
    "uniform": "equal weights on every visible key",
    "mean": "the mean pattern of a fixed pool of other documents",
    "shuffled": "another document's pattern",
    "local": "equal weights on the nearest keys",
    "given": "the weights that were given (--override)",
}
MEAN_SHARE = 0.1
"""Share of the cost of equal weights up to which the mean pattern counts as doing the same work."""


def over_documents(study: Study, values: Array) -> Interval:
    """Return the confidence interval of the mean loss difference over documents, adjusted for interim analyses."""
    units = study.first_units(values)
    if study.settings.interim_analyses == 1:
        return skew_t(units)
    look, ends = _interim_analysis_of(study, values)
    return repeated_interval(units, look, fractions_of(ends))


def p_of_zero(study: Study, values: Array) -> float:
    """Return the two-sided p-value of "the mean over documents is zero"; NaN without spread or with too few values."""
    units = study.first_units(values)
    units = units[np.isfinite(units)]
    if len(units) < 2 or np.ptp(units) < 1e-12:
        return math.nan
    if study.settings.interim_analyses == 1:
        return skew_p(units)
    look, ends = _interim_analysis_of(study, values)
    return repeated_p(units, look, fractions_of(ends))


def interim_facts(study: Study, values: Array) -> dict[str, Any]:
    """Return the interim analysis at which a replacement stopped, and the numbers of sequences used and planned, by
    name; empty without interim analyses.
    """
    if study.settings.interim_analyses == 1:
        return {}
    look, ends = _interim_analysis_of(study, values)
    return {"look": look + 1, "looks": len(ends), "sequences": ends[look], "sequences_planned": ends[-1]}


def _interim_analysis_of(study: Study, values: Array) -> tuple[int, tuple[int, ...]]:
    """The look at which measuring stopped, from 0, and all looks of these values."""
    starts = np.cumsum([0, *(len(batch.index) for batch in study.batches)])
    ends = interim_ends(study.batches[: int(np.searchsorted(starts, len(values)))], study.settings.interim_analyses)
    measured = np.flatnonzero(~np.isnan(values))
    seen = int(measured[-1]) + 1 if len(measured) else ends[-1]
    return next(k for k, end in enumerate(ends) if end >= seen), ends


def family(study: Study) -> dict[tuple[str, int | None], float]:
    """Return the Holm-adjusted p-value of each (replacement, layer) pair; layer None means the whole model."""
    raw: dict[tuple[str, int | None], float] = {
        (arm, None): p_of_zero(study, values) for arm, values in study.whole_model.items()
    }
    if study.settings.runs("standard"):
        for layer, arms in zip(study.observed.replaceable, study.each_layer, strict=True):
            for arm, values in arms.items():
                raw[arm, layer.layer] = p_of_zero(study, values)
    adjusted = holm(np.array(list(raw.values())))
    return {key: float(p) for key, p in zip(raw, np.asarray(adjusted), strict=True)}


def ablation_findings(study: Study, claim: str, arm: str, source: str) -> list[Finding]:
    """Return the findings on one replacement: for the model, and for each layer if the preset includes layers.

    Args:
        study: The study.
        claim: Registry name.
        arm: Pattern that takes the place of the learned one.
        source: Where the margin comes from.
    """
    if study.objective.name == "none":
        return [Finding(claim=claim, verdict=Verdict.SKIP, reason=study.objective.reason, source=source)]
    if len(study.sequences.input_ids) < 2:
        return [
            Finding(
                claim=claim,
                verdict=Verdict.SKIP,
                reason="only one sequence: a paired comparison needs at least two",
                source=source,
            )
        ]
    if not study.observed.replaceable:
        return [Finding(claim=claim, verdict=Verdict.SKIP, reason=left_whole(study), source=source)]
    adjusted = study.once(family)
    whole = _finding(study, claim, arm, source, study.whole_model[arm], None, adjusted[arm, None])
    found = [_of_a_part(study, whole)]
    if study.settings.runs("standard"):
        for layer, arms in zip(study.observed.replaceable, study.each_layer, strict=True):
            if arm not in arms:
                found.append(not_measured(claim, source, layer.layer))
                continue
            one = _finding(study, claim, arm, source, arms[arm], layer.layer, adjusted[arm, layer.layer])
            found.append(_of_all_calls(one, study.observed.calls_of(layer)))
    if arm == "uniform" and study.settings.runs("full"):
        found += _each_head(study, claim, source)
    return found


def not_measured(claim: str, source: str, layer: int) -> Finding:
    """Return the finding for a layer in which a replacement was not measured.

    Args:
        claim: Registry name.
        source: Where the definition comes from.
        layer: Index of the layer.
    """
    message = (
        "not measured: larger effects were predicted in other layers, which were measured instead (preset full: all)"
    )
    return Finding(claim=claim, verdict=Verdict.SKIP, reason=message, source=source, layer=layer)


def left_whole(study: Study) -> str:
    """Describe the attention modules that cannot be replaced, with reasons; empty if every module can be."""
    left = study.observed.irreplaceable
    if not left:
        return ""
    path, why = next(iter(left.items()))
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return f"attention that cannot be replaced was left as it is: {path}{more}: {why}"


def _of_a_part(study: Study, whole: Finding) -> Finding:
    """What is said of the whole model where only a part of its attention was replaced: nothing firm."""
    left = left_whole(study)
    if not left:
        return whole
    settled = whole.verdict in (Verdict.PASS, Verdict.ABSENT, Verdict.FAIL)
    verdict = Verdict.WARN if settled else whole.verdict
    detail = {**whole.detail, "left": list(study.observed.irreplaceable), "unused": False}
    return replace(whole, verdict=verdict, reason=f"{left}; in the rest, {whole.reason}", detail=detail)


def _of_all_calls(found: Finding, calls: int) -> Finding:
    """The unit of a replacement is the module: where it is called several times, all of them are replaced."""
    if calls == 1:
        return found
    message = f"in all {calls} calls of this shared module: {found.reason}"
    return replace(found, reason=message, detail={**found.detail, "calls": calls})


def _meaning(study: Study, arm: str) -> str:
    pool = getattr(study, "pattern_pool", None) if arm == "mean" else None
    return MEANINGS[arm] if pool is None else pool.description


def _finding(
    study: Study,
    claim: str,
    arm: str,
    source: str,
    values: Array,
    layer: int | None,
    p_adjusted: float,
    head: int | None = None,
) -> Finding:
    units = study.first_units(values)
    interval = over_documents(study, values)
    count = int(np.isfinite(units).sum())
    margin = study.settings.margins.loss
    verdict, reason = judge(
        interval,
        present_above=margin,
        absent_below=margin,
        units=count,
        smallest=study.settings.least_units,
    )
    if verdict is Verdict.PASS and not math.isnan(p_adjusted):
        verdict, reason = with_p(
            verdict,
            reason,
            p_adjusted,
            study.settings.alpha,
            "beyond chance",
            "not significant after adjustment for all replacements",
        )
    verdict, reason = _two_sided(interval, margin, verdict, reason)
    unused = verdict is Verdict.ABSENT and arm == "zero" and layer is None
    if unused:
        verdict, reason = (
            Verdict.FAIL,
            f"attention is unused: the loss changes by less than the margin; {reason}",
        )
    raw = p_of_zero(study, values)
    return Finding(
        claim=claim,
        verdict=verdict,
        reason=f"{_meaning(study, arm)}: {_in_words(verdict, reason)}",
        estimate=float(interval.estimate),
        interval=(float(interval.low), float(interval.high)),
        unit="nat/token",
        n=count,
        null="the same tokens with the learned attention",
        p=None if math.isnan(raw) else raw,
        p_adjusted=None if math.isnan(p_adjusted) else p_adjusted,
        threshold=margin,
        source=source,
        layer=layer,
        head=head,
        units=None if head is not None else first_unit_values(study, values),
        detail={"arm": arm}
        | interim_facts(study, values)
        | ({"loss": float(mean_of(study.loss)), "unused": unused} if layer is None else {}),
    )


def given_finding(study: Study, claim: str, source: str, values: Array) -> Finding:
    """Return the finding on whether the user's weights change the whole model's loss; its p-value is not adjusted for
    other tests.

    Args:
        study: The study.
        claim: What to call it.
        source: Where the margin comes from.
        values: Loss differences, ``(sequence,)``.
    """
    whole = _finding(study, claim, "given", source, values, None, p_of_zero(study, values))
    return _of_a_part(study, whole)


def _in_words(verdict: Verdict, reason: str) -> str:
    """What the loss did; the numbers stand in the finding's own fields."""
    plain = {
        Verdict.PASS: "the loss rises by more than the margin",
        Verdict.ABSENT: "the loss changes by less than the margin in either direction",
    }
    return plain.get(verdict, reason)


def _two_sided(interval: Interval, margin: float, verdict: Verdict, reason: str) -> tuple[Verdict, str]:
    """ABSENT means within the margin both ways; a replacement that helps is a finding of its own."""
    if verdict is not Verdict.ABSENT or bool(equivalent(interval, margin)):
        return verdict, reason
    if float(interval.high) < -margin:
        return Verdict.WARN, f"the replacement is better than the learned attention: {reason}"
    return Verdict.WARN, f"not settled: {reason}"


def _each_head(study: Study, claim: str, source: str) -> list[Finding]:
    values = [
        (layer.layer, head, v)
        for layer, heads in zip(study.observed.replaceable, study.each_head, strict=True)
        for head, v in enumerate(heads)
        if v is not None
    ]
    raw = np.array([p_of_zero(study, v) for _, _, v in values])
    adjusted = np.asarray(holm(raw))
    return [
        _finding(study, claim, "uniform", source, v, layer, float(p), head)
        for (layer, head, v), p in zip(values, adjusted, strict=True)
    ]


UNSETTLED = "mixed or not settled"


def signature_of(study: Study, arms: dict[str, Array]) -> tuple[str, str]:
    """Name what attention is used for, by which replacements raise the loss; return the name and the loss differences
    as text.

    Args:
        study: The study.
        arms: Arm to ``(sequence,)`` loss differences.

    Returns:
        A name (positional, content, value average, unused, mixed or not settled; "" with too few documents) and the
        numbers that led to it.
    """
    margin = study.settings.margins.loss
    intervals = {arm: over_documents(study, values) for arm, values in arms.items()}
    fewest = min(int(interval.units) for interval in intervals.values())
    if fewest < study.settings.least_units:
        return "", f"{fewest} documents have a loss; at least {study.settings.least_units} are needed"
    shown = ", ".join(
        f"{arm} {float(intervals[arm].estimate):+.3f}" for arm in ("zero", "uniform", "mean", "shuffled", "local")
    )
    costs = {arm: float(interval.low) > margin for arm, interval in intervals.items()}
    free = {arm: bool(equivalent(interval, margin)) for arm, interval in intervals.items()}
    if free["zero"] and free["uniform"]:
        return "unused", shown
    if free["uniform"]:
        return ("value average" if costs["zero"] else UNSETTLED), shown
    share = float(intervals["mean"].estimate) / max(float(intervals["uniform"].estimate), 1e-9)
    if costs["uniform"] and costs["shuffled"] and costs["mean"] and share > MEAN_SHARE:
        return "content", shown
    if costs["uniform"] and (free["mean"] or share <= MEAN_SHARE):
        return "positional", shown
    return UNSETTLED, shown


def redundant(study: Study, whole: Array, parts: Sequence[Array]) -> bool:
    """Return whether the loss rises if all layers (or all heads) get equal weights at once, although it does not rise
    if any single one does.

    Args:
        study: The study.
        whole: ``(sequence,)`` loss differences with equal weights in all parts.
        parts: The same with equal weights in one part each: the layers of a model, or the heads of a layer.
    """
    margin = study.settings.margins.loss
    alone = [over_documents(study, values) for values in parts]
    together = over_documents(study, whole)
    enough = min(int(interval.units) for interval in (together, *alone)) >= study.settings.least_units
    costs = enough and len(alone) > 1 and float(together.low) > margin
    return costs and all(bool(equivalent(interval, margin)) for interval in alone)
