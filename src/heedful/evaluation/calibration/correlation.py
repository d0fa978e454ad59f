"""Calibrate claim T8 (diversity tracks concentration over layers) on unrelated and on correlated layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from heedful.evaluation.calibration.planted_study import sequences_of
from heedful.evaluation.calibration.rate import AT_LEAST, Rate
from heedful.evaluation.calibration.world import zipf_ids
from heedful.evaluation.evidence import Evidence, LayerEvidence
from heedful.evaluation.registry import CHECKS
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

CLAIM = "diversity_tracks_concentration"
DOCUMENTS, LAYERS = 32, (8, 12, 24, 48)
NOISE = {"clear layers": 0.5, "noisy layers": 1.8}
"""Spread of documents about a layer's mean, in units of the spread between layers."""


def correlation_rates(layers: int, noise: str, trials: int, seed: int) -> Iterator[Rate]:
    """Simulate how often claim T8 passes for unrelated layers, and for layers whose true means correlate.

    Args:
        layers: Number of layers.
        noise: A name of ``NOISE``.
        trials: Studies.
        seed: Seed.
    """
    random = np.random.default_rng(seed)
    for strength, nominal in ((0.0, 0.05), (0.9, 0.8)):
        messages = [_verdict(layers, NOISE[noise], strength, random) for _ in range(trials)]
        world = f"{layers} {noise}"
        if strength:
            told_right = sum(v is Verdict.PASS for v in messages)
            if layers >= 12 and noise == "clear layers":
                yield Rate(
                    claim=CLAIM,
                    event="PASS where layers go together",
                    world=world,
                    count=told_right,
                    trials=trials,
                    nominal=nominal,
                    promise=AT_LEAST,
                    effect=f"correlation {strength:g}",
                )
        else:
            wrong = sum(v in (Verdict.PASS, Verdict.ABSENT) for v in messages)
            yield Rate(
                claim=CLAIM,
                event="any direction where there is none",
                world=world,
                count=wrong,
                trials=trials,
                nominal=nominal,
            )


def _verdict(layers: int, noise: float, strength: float, random: np.random.Generator) -> Verdict:
    """The model's verdict; layer means of correlation ``strength``, documents share an effect over layers."""
    x = random.standard_normal(layers)
    y = strength * x + np.sqrt(1 - strength**2) * random.standard_normal(layers)
    shared = random.standard_normal((2, DOCUMENTS, 1))
    own = random.standard_normal((2, DOCUMENTS, layers))
    spread = np.exp(0.2 * (x + noise * (0.5 * shared[0] + own[0])))
    focus = np.exp(0.5 * (y + noise * (0.5 * shared[1] + own[1])))
    found = [
        LayerEvidence(
            f"layer {k}", nn.Identity(), k, 1, "", {"entering_spread": spread[:, k], "concentration": focus[:, k, None]}
        )
        for k in range(layers)
    ]
    sequences = sequences_of(zipf_ids(DOCUMENTS, 2, torch.Generator().manual_seed(0)))
    study = Study(nn.Identity(), sequences, Settings(preset="quick", resamples=499, seed=int(random.integers(2**31))))
    study.__dict__["observed"] = Evidence(found, {})
    return Verdict(CHECKS[CLAIM].judge(study)[0].verdict)
