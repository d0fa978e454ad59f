"""Simulate ranking heads on some documents and testing the top ones on others: error rates, interval coverage, and
power compared with testing all heads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from heedful.evaluation.calibration.losses import SPREAD, noise_of
from heedful.evaluation.calibration.rate import AT_LEAST, Rate
from heedful.evaluation.evidence import Array
from heedful.inference.multiplicity import holm
from heedful.inference.skewness import skew_p, skew_t

CLAIM = "ranked heads"
PARTS, KEPT, EACH = 270, 36, 16
"""Heads of SmolLM2-135M, those that ``full`` replaces, and documents that rank and that test."""

TRUE, LEAST, MOST = 20, 1.5, 4.0
"""Heads that cost something when replaced, between so many standard deviations of a document's difference and so many.
"""

AGREEMENT = 0.75
"""Correlation of a document's expected effect with its measured difference (docs/log/verdicts.md: .68 to .95)."""


def screened_rates(shape: str, trials: int, seed: int, *, apart: bool = True) -> Iterator[Rate]:
    """Rank heads on some documents, test the top ones on others, and yield the rates of false findings, missed
    intervals and found effects.

    Args:
        shape: A name of ``losses.SKEW``.
        trials: Studies.
        seed: Seed.
        apart: Whether the documents that test are others than those that rank; the same ones show why they must be.
    """
    random = np.random.default_rng(seed)
    wrong = covered = intervals = named = named_of_all = effects = 0
    for _ in range(trials):
        truth = np.zeros(PARTS)
        truth[random.permutation(PARTS)[:TRUE]] = SPREAD * random.uniform(LEAST, MOST, TRUE)
        measured = truth + SPREAD * noise_of(shape, random, (2 * EACH, PARTS))
        noise = SPREAD * random.standard_normal((EACH, PARTS)) * np.sqrt(1 / AGREEMENT**2 - 1)
        kept = np.argsort(-(measured[:EACH] + noise).mean(0))[:KEPT]
        tested = measured[EACH:, kept] if apart else measured[:EACH, kept]
        found = _named(tested)
        of_all = _named(measured[EACH:])
        wrong += bool(found[truth[kept] == 0].any())
        interval = skew_t(tested)
        inside = (np.asarray(interval.low) <= truth[kept]) & (truth[kept] <= np.asarray(interval.high))
        covered, intervals = covered + int(inside.sum()), intervals + KEPT
        named, named_of_all = named + int(found[truth[kept] > 0].sum()), named_of_all + int(of_all[truth > 0].sum())
        effects += TRUE
    yield Rate(
        claim=CLAIM, event="any head named whose effect is 0", world=shape, count=wrong, trials=trials, nominal=0.05,
    )  # fmt: skip
    yield Rate(
        claim=CLAIM, event="intervals that miss the truth", world=shape, count=intervals - covered, trials=intervals,
        nominal=0.06,
    )  # fmt: skip
    yield Rate(
        claim=CLAIM, event="effects named", world=shape, count=named, trials=effects,
        nominal=max(named_of_all / effects - 0.05, 0.0), promise=AT_LEAST,
        effect=f"testing all {PARTS} on as many documents: {100 * named_of_all / effects:.1f} %",
    )  # fmt: skip


def _named(differences: Array) -> Array:
    """Heads whose mean difference lies above 0, by Holm over those that are tested: ``(document, head)`` to bool."""
    p = np.array([skew_p(column) for column in differences.T])
    interval = skew_t(differences)
    return np.asarray((np.asarray(holm(p)) <= 0.05) & (np.asarray(interval.low) > 0))
