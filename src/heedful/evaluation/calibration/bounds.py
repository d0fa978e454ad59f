"""Simulate how often confidence intervals of loss differences miss the true mean, for each side and number of
documents.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from heedful.evaluation.calibration.losses import noise_of
from heedful.evaluation.calibration.rate import Rate
from heedful.inference.skewness import skew_t

CLAIM = "loss differences"
DOCUMENTS = (16, 32, 64, 128, 256, 512)


def bound_rates(shape: str, trials: int, seed: int) -> Iterator[Rate]:
    """Simulate how often the confidence interval lies wholly below the true mean (risks a false "unused") or wholly
    above it (risks a false PASS), for each number of documents.

    Args:
        shape: A name of ``losses.SKEW``.
        trials: Samples of each number of documents.
        seed: Seed.
    """
    random = np.random.default_rng(seed)
    for documents in DOCUMENTS:
        interval = skew_t(noise_of(shape, random, (documents, trials)))
        beyond = {"above": np.asarray(interval.high) < 0, "below": np.asarray(interval.low) > 0}
        for side, missed in beyond.items():
            yield Rate(
                claim=CLAIM, event=f"true mean {side} the interval", world=f"{shape}, {documents} documents",
                count=int(missed.sum()), trials=trials, nominal=0.025,
            )  # fmt: skip
