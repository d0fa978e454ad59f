"""Simulate interim analyses: how often a true null hypothesis is rejected, and how early an effect is detected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.evaluation.ablation import ARMS
from heedful.evaluation.calibration.losses import (
    CLAIM_OF,
    DOCUMENTS,
    MARGIN,
    SPREAD,
    noise_of,
    study_with_interim_analyses,
)
from heedful.evaluation.calibration.rate import AT_LEAST, Rate
from heedful.evaluation.registry import CHECKS
from heedful.inference.interim_analyses import repeated_interval
from heedful.inference.interval import Interval, student_t
from heedful.inference.verdict import Verdict

FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
LARGEST, EFFECT = 512, 0.3
CLAIM = "--sequential"


def sequential_rates(shape: str, trials: int, seed: int) -> Iterator[Rate]:
    """Simulate five interim analyses at 32 to 512 documents: error rate, power, and the error rate without adjustment.

    Args:
        shape: A name of ``losses.SKEW``.
        trials: Runs.
        seed: Seed.
    """
    values = noise_of(shape, np.random.default_rng(seed), (LARGEST, trials))
    looks = [int(fraction * LARGEST) for fraction in FRACTIONS]
    null = [repeated_interval(values[:n], k, FRACTIONS) for k, n in enumerate(looks)]
    wrong = _leaves_zero(null)
    yield Rate(
        claim=CLAIM, event="0 left at any look, true mean 0", world=shape, count=int(wrong.sum()), trials=trials,
        nominal=0.05,
    )  # fmt: skip
    plain = [student_t(values[:n]) for n in looks]
    naive = _leaves_zero(plain)
    yield Rate(
        claim=CLAIM, event="the same with plain t (why not)", world=shape, count=int(naive.sum()), trials=trials,
        nominal=1.0,
    )  # fmt: skip
    seen = np.array([np.asarray(i.low) + EFFECT > 0 for i in null])
    stop = np.where(seen.any(axis=0), np.array(looks)[seen.argmax(axis=0)], LARGEST)
    yield Rate(
        claim=CLAIM, event="seen at some look", world=shape, count=int(seen.any(axis=0).sum()), trials=trials,
        nominal=0.8, promise=AT_LEAST, effect=f"{EFFECT:g} sd; {stop.mean():.0f} of {LARGEST} documents on average",
    )  # fmt: skip


def ablation_rates(shape: str, trials: int, seed: int) -> Iterator[Rate]:
    """Simulate verdicts of ablation claims with interim analyses: false positives at the margin, power far above it.

    Args:
        shape: A name of ``losses.SKEW``.
        trials: Studies of five arms each.
        seed: Seed.
    """
    random = np.random.default_rng(seed)
    passed, unused, tests, seen, read = 0, 0, 0, 0, 0
    for _ in range(trials):
        for truth in (MARGIN, MARGIN + SPREAD):
            study = study_with_interim_analyses(
                {arm: truth + SPREAD * noise_of(shape, random) for arm in ARMS}, len(FRACTIONS)
            )
            found = [CHECKS[claim].judge(study)[0] for claim in CLAIM_OF.values()]
            if truth > MARGIN:
                seen += sum(f.verdict is Verdict.PASS for f in found)
                read += sum(f.detail["sequences"] for f in found)
                continue
            tests += len(found)
            passed += sum(f.verdict is Verdict.PASS for f in found)
            unused += sum(f.verdict in (Verdict.ABSENT, Verdict.FAIL) for f in found)
    yield Rate(
        claim=CLAIM, event="PASS at the margin, section 9", world=shape, count=passed, trials=tests, nominal=0.025
    )
    yield Rate(claim=CLAIM, event="unused, at the margin", world=shape, count=unused, trials=tests, nominal=0.025)
    yield Rate(
        claim=CLAIM, event="PASS 1 sd above the margin", world=shape, count=seen, trials=tests, nominal=0.8,
        promise=AT_LEAST, effect=f"{read / tests:.0f} of {DOCUMENTS} documents on average",
    )  # fmt: skip


def _leaves_zero(intervals: Sequence[Interval]) -> NDArray[np.bool_]:
    """Runs in which any look's interval lies beside 0."""
    beside = [(np.asarray(i.low) > 0) | (np.asarray(i.high) < 0) for i in intervals]
    return np.asarray(np.stack(beside).any(axis=0))
