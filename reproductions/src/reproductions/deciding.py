"""Decide a part of a claim from an interval and the published bound or figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval
from heedful.inference.verdict import Verdict


def above(found: Interval, bound: float, reason: str, **facts: Any) -> Finding:
    """Judge the claim "more than the bound": reproduced if the whole interval is above, refuted if it is below.

    Args:
        found: Estimate and interval, plain numbers.
        bound: What it must exceed.
        reason: What was measured, in a sentence.
        facts: Fields of the finding: ``unit``, ``null``, ``detail``, ``p``.
    """
    return _finding(_verdict(found, bound, math.inf), found, reason, bound, facts)


def below(found: Interval, bound: float, reason: str, **facts: Any) -> Finding:
    """Judge the claim "less than the bound"; arguments as in :func:`above`.

    Args:
        found: Estimate and interval, plain numbers.
        bound: What it must stay under.
        reason: What was measured, in a sentence.
        facts: Fields of the finding.
    """
    return _finding(_verdict(found, -math.inf, bound), found, reason, bound, facts)


def within(found: Interval, low: float, high: float, reason: str, **facts: Any) -> Finding:
    """Judge a published figure: reproduced if the interval lies in a band around it, refuted if it lies outside.

    The nearer end of the band is stored as the threshold, and both in ``detail["band"]``.

    Args:
        found: Estimate and interval, plain numbers.
        low: Lower end of the band.
        high: Upper end.
        reason: What was measured, in a sentence.
        facts: Fields of the finding.
    """
    nearer = low if abs(float(found.estimate) - low) <= abs(float(found.estimate) - high) else high
    detail = {**facts.pop("detail", {}), "band": [low, high]}
    return _finding(_verdict(found, low, high), found, reason, nearer, {**facts, "detail": detail})


def identity(finding: Finding, word: str = "Identity") -> Finding:
    """A part that algebra decides, whatever the text: it is marked as such, and has neither units nor an interval.

    Args:
        finding: What was computed, rounding included; its threshold stays.
        word: What leaves nothing to chance, where it is another thing than algebra.
    """
    detail = {**finding.detail, "identity": word}
    return replace(finding, interval=None, n=0, detail=detail, reason=f"{word}. {finding.reason}")


def beside(found: Interval, reason: str, **facts: Any) -> Finding:
    """Return a finding that reports a number for comparison and decides nothing.

    Args:
        found: Estimate and interval, plain numbers.
        reason: What was measured, in a sentence.
        facts: Fields of the finding.
    """
    return _finding(Verdict.INFO, found, reason, None, facts)


def _verdict(found: Interval, low: float, high: float) -> Verdict:
    below_, above_ = float(found.low), float(found.high)
    if math.isnan(below_) or math.isnan(above_):
        return Verdict.INSUFFICIENT
    if below_ >= low and above_ <= high:
        return Verdict.PASS
    return Verdict.ABSENT if above_ < low or below_ > high else Verdict.INSUFFICIENT


def _finding(
    verdict: Verdict, found: Interval, reason: str, threshold: float | None, facts: Mapping[str, Any]
) -> Finding:
    estimate, low, high = (float(value) for value in (found.estimate, found.low, found.high))
    return Finding(
        claim="",
        verdict=verdict,
        reason=reason,
        estimate=None if math.isnan(estimate) else estimate,
        interval=None if math.isnan(low) or math.isnan(high) else (low, high),
        n=int(found.units),
        threshold=threshold,
        **facts,
    )
