"""Simulate false-positive rates of claims about heads, with the true effect exactly at the margin and near it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from heedful.evaluation.calibration.planted_study import (
    DOCUMENTS,
    FLAT,
    FOLLOWS,
    HEADS,
    IID,
    KEYS,
    POINTED,
    World,
    planted_study,
)
from heedful.evaluation.calibration.rate import AT_LEAST, Rate, worth_of
from heedful.evaluation.evidence import Array
from heedful.evaluation.heads import head_rows
from heedful.evaluation.registry import CHECKS
from heedful.evaluation.result import Finding
from heedful.evaluation.settings import Margins
from heedful.evaluation.study import Study
from heedful.inference.margin import detectable_by
from heedful.inference.skewness import reach
from heedful.inference.verdict import Verdict

TAIL, FAMILY, POWER = 0.025, 0.05, 0.8


@dataclass(frozen=True, kw_only=True)
class AtMargin:
    """Simulation settings that place the true effect of one claim at its margin.

    Attributes:
        claim: Registry name.
        world: Where the effect is near the stated margin.
        margins: Fields of ``Margins`` that the claim compares with.
        as_log: The claim judges logs.
        truth: The true effect where it is known exactly; None takes the mean over all trials.
        widened: Factor by which the claim widens its interval on purpose, the detectable effect with it.
        causal_only: The claim is undefined where queries see both ways.
    """

    claim: str
    world: World
    margins: tuple[str, ...]
    as_log: bool = False
    truth: float | None = None
    widened: float = 1.0
    causal_only: bool = False


PATTERN = ("pattern", "pattern_partial")
AT_MARGIN = (
    AtMargin(claim="local_bias", world=IID, margins=("log_odds",), truth=0.0),
    AtMargin(claim="same_token_attraction", world=IID, margins=("log_odds",), truth=0.0),
    AtMargin(claim="local_bias", world=KEYS, margins=("log_odds",), truth=0.0),
    AtMargin(claim="same_token_attraction", world=KEYS, margins=("log_odds",), truth=0.0),
    AtMargin(claim="local_bias", world=FLAT, margins=("log_odds",)),
    AtMargin(claim="same_token_attraction", world=FLAT, margins=("log_odds",), truth=math.log(1.25)),
    AtMargin(claim="special_token_mass", world=FLAT, margins=("share_log",)),
    AtMargin(claim="punctuation_mass", world=FLAT, margins=("share_log",)),
    AtMargin(claim="heads_are_concentrated", world=FLAT, margins=("diffuse",), as_log=True),
    AtMargin(claim="queries_attend_by_content", world=FLAT, margins=("content",), widened=2.0),
    AtMargin(claim="adjacent_queries_differ", world=FLAT, margins=("content",)),
    AtMargin(claim="distant_queries_differ", world=FLAT, margins=("content",)),
    AtMargin(claim="concentration_keeps_with_length", world=FLAT, margins=("dispersal",), causal_only=True),
    AtMargin(claim="previous_token", world=POINTED, margins=PATTERN),
    AtMargin(claim="first_key_sink", world=POINTED, margins=("sink",)),
    AtMargin(claim="induction", world=FOLLOWS, margins=PATTERN, causal_only=True),
)
"""Every claim that compares an interval with a margin, where its effect is near that margin."""

LABELLED = "heads_by_verdict"
ORDER_MATTERS = ("queries_attend_by_content", "adjacent_queries_differ", "distant_queries_differ")


def interval_rates(
    world: World, length: int, hides_future: bool, claims: Sequence[str], trials: int, seed: int
) -> Iterator[Rate]:
    """Simulate error rates and power of the given claims for attention drawn from ``world``, with a new study per
    trial.

    Args:
        world: How logits come about.
        length: Tokens of a document.
        hides_future: Whether attention is causal.
        claims: Registry names that are wanted.
        trials: Studies, each of ``HEADS`` heads.
        seed: Seed of the first study.

    Yields:
        Rates: PASS and ABSENT at the margin, PASS at the detectable effect, order and labels where the claim has them.
    """
    wanted = [one for one in AT_MARGIN if one.world == world and one.claim in claims]
    wanted = [one for one in wanted if hides_future or not one.causal_only]
    labels = world == FLAT and LABELLED in claims
    if not wanted and not labels:
        return
    studies = [planted_study(world, length, hides_future, seed + k).study for k in range(trials)]
    for one in wanted:
        for rate in _at_margin(studies, one):
            yield replace(rate, claim=one.claim, world=world.name, length=length, causal=hides_future)
    if labels:
        for rate in _labels(studies):
            yield replace(rate, claim=LABELLED, world=world.name, length=length, causal=hides_future)


def _at_margin(studies: Sequence[Study], one: AtMargin) -> Iterator[Rate]:
    first = [_judged(study, one) for study in studies]
    estimates = _estimates(first, one)
    if np.isnan(estimates).all():
        return
    truth = float(np.nanmean(estimates)) if one.truth is None else one.truth
    at = [_judged(study, one, truth) for study in studies]
    yield from _errors(at, one)
    error = float(np.nanstd(estimates, ddof=1))
    if len(at[0]) > 1:  # claims on heads are one family
        above = one.widened * float(reach(DOCUMENTS, estimates.shape[1])) * error
    else:  # the effect that the verdict prints, which knows the claim's own interval
        above = float(np.nanmedian([detectable_by(*of_one[0].interval) for of_one in first if of_one[0].interval]))
    found = [_judged(study, one, truth - above) for study in studies]
    heads = [[f.verdict is Verdict.PASS for f in _heads(findings)] for findings in found]
    effect = f"margin + {above:.2g}" if not one.as_log else f"margin x {math.exp(above):.3g}"
    power = _rate("PASS at the detectable effect", heads, POWER)
    yield replace(power, promise=AT_LEAST, effect=effect)
    if one.claim in ORDER_MATTERS:
        p = [f[0].detail["order_p"] for f in first]
        known = [value for value in p if value is not None]
        yield _rate("order matters, where it does not", [[value <= FAMILY] for value in known], FAMILY)


def _errors(at: Sequence[list[Finding]], one: AtMargin) -> Iterator[Rate]:
    """What is said of an effect that lies exactly at the margin."""
    heads = [_heads(findings) for findings in at]
    yield _rate("PASS at the margin", [[f.verdict is Verdict.PASS for f in of_one] for of_one in heads], TAIL)
    absent = (Verdict.ABSENT,) if len(at[0]) > 1 else (Verdict.WARN,)
    yield _rate("below the margin, at it", [[_below(f, absent) for f in of_one] for of_one in heads], TAIL)
    if len(at[0]) > 1:  # claims on heads promise 5 % for all heads together
        named = [[any(f.verdict is Verdict.PASS for f in of_one)] for of_one in heads]
        yield _rate(f"any of {HEADS} heads PASS at the margin", named, FAMILY)


def _below(found: Finding, absent: Sequence[Verdict]) -> bool:
    return found.verdict in absent and found.interval is not None and found.interval[1] < (found.threshold or 0.0)


def _labels(studies: Sequence[Study]) -> Iterator[Rate]:
    """Labels of the head table where a head's concentration lies exactly at a margin."""
    one = next(one for one in AT_MARGIN if one.claim == "heads_are_concentrated")
    truth = math.exp(float(np.nanmean(_estimates([_judged(study, one) for study in studies], one))))
    low: list[list[bool]] = []
    high: list[list[bool]] = []
    for study in studies:
        study.settings = replace(study.settings, margins=Margins(diffuse=truth, selective=truth))
        names = [row.verdict for row in head_rows(study)]
        low.append([name == "DIFFUSE" for name in names])
        high.append([name in ("SHARP", "SELECTIVE") for name in names])
    yield _rate("DIFFUSE at the margin", low, TAIL)
    yield _rate("SHARP or SELECTIVE at the margin", high, TAIL)


def _judged(study: Study, one: AtMargin, truth: float | None = None) -> list[Finding]:
    """Findings of the claim itself, its margins as stated or at the truth."""
    value = None if truth is None else math.exp(truth) if one.as_log else truth
    margins = Margins() if value is None else Margins(**dict.fromkeys(one.margins, value))
    study.settings = replace(study.settings, margins=margins)
    return list(CHECKS[one.claim].judge(study))


def _heads(findings: list[Finding]) -> list[Finding]:
    """Findings of heads, or the one of the model where the claim knows no heads."""
    return findings[1:] or findings


def _estimates(found: Sequence[list[Finding]], one: AtMargin) -> Array:
    """Estimates ``(study, head)`` on the scale on which the claim judges; NaN where undefined."""
    values = [[math.nan if f.estimate is None else f.estimate for f in _heads(findings)] for findings in found]
    array = np.array(values, dtype=float)
    return np.log(array) if one.as_log else array


def _rate(event: str, happened: list[list[bool]], nominal: float) -> Rate:
    """A rate over heads in studies: heads of one study share its documents."""
    return Rate(
        claim="",
        event=event,
        world="",
        count=sum(map(sum, happened)),
        trials=sum(map(len, happened)),
        nominal=nominal,
        worth=worth_of(happened),
    )
