"""Calibrate ablation claims on paired loss differences of known mean, with normal and with skewed noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from heedful.evaluation.ablation import ARMS, Replacement
from heedful.evaluation.calibration.planted_study import sequences_of
from heedful.evaluation.calibration.rate import AT_LEAST, AT_MOST, Rate
from heedful.evaluation.calibration.world import zipf_ids
from heedful.evaluation.evidence import Array, Evidence, LayerEvidence
from heedful.evaluation.interim_ablation import differences_by_analyses
from heedful.evaluation.objective import Objective
from heedful.evaluation.registry import CHECKS
from heedful.evaluation.result import Finding
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.inference.power import minimal_detectable_effect
from heedful.inference.verdict import Verdict
from heedful.loading.batch import Batch

CLAIM_OF = {
    "zero": "attention_output_matters",
    "uniform": "learned_weights_matter",
    "mean": "more_than_position_matters",
    "shuffled": "own_text_matters",
    "local": "more_than_local_average_matters",
}
SKEW = {"normal": 0.0, "skew 1.7": 0.5, "skew 6": 1.0}
"""Shapes of documents' differences: sd of the log of a log-normal, 0 for normal ones."""

DOCUMENTS, MARGIN, SPREAD = 64, 0.01, 0.05
"""``SPREAD``: sd between documents in nats a token, near that of the embedded model's layers."""


def loss_rates(shape: str, claims: Sequence[str], trials: int, seed: int) -> Iterator[Rate]:
    """Simulate the verdicts of ablation claims when the true loss difference is at a margin, 0, or just detectable.

    Args:
        shape: A name of ``SKEW``.
        claims: Registry names that are wanted.
        trials: Studies of ``DOCUMENTS`` documents; arms are independent.
        seed: Seed of the differences.
    """
    wanted = {arm: name for arm, name in CLAIM_OF.items() if name in claims}
    if not wanted:
        return
    random = np.random.default_rng(seed)
    above = float(minimal_detectable_effect(SPREAD, DOCUMENTS, tests=len(ARMS)))
    truths = {"at": MARGIN, "below": -MARGIN, "small": 0.0, "found": MARGIN + above}
    spread = {"small": MARGIN * 1.2}
    found: dict[str, list[dict[str, Finding]]] = {name: [] for name in truths}
    for name, truth in truths.items():
        for _ in range(trials):
            study = _study({arm: truth + spread.get(name, SPREAD) * noise_of(shape, random) for arm in ARMS})
            found[name].append({arm: CHECKS[claim].judge(study)[0] for arm, claim in wanted.items()})
    for arm, claim in wanted.items():
        at, below, small, large = ([one[arm].verdict for one in found[name]] for name in truths)
        message = (Verdict.ABSENT, Verdict.FAIL)
        yield from (
            replace(rate, claim=claim, world=shape)
            for rate in (
                _rate("PASS at the margin", [v is Verdict.PASS for v in at], 0.025),
                _rate("unused, at the margin", [v in message for v in at], 0.025),
                _rate("unused, at minus the margin", [v in message for v in below], 0.025),
                _rate("unused, where it is", [v in message for v in small], 0.8, AT_LEAST, f"sd {MARGIN * 1.2:g} nat"),
                _rate("PASS at the detectable effect", [v is Verdict.PASS for v in large], 0.8, AT_LEAST)
                if shape == "normal"
                else None,
            )
            if rate is not None
        )


def noise_of(shape: str, random: np.random.Generator, size: tuple[int, ...] = (DOCUMENTS,)) -> Array:
    """Draw document effects with mean 0 and standard deviation 1, normal or skewed, in an array of shape ``size``.

    Args:
        shape: A name of ``SKEW``.
        random: Where they come from.
        size: Shape of the array.
    """
    sigma = SKEW[shape]
    drawn = random.standard_normal(size)
    if not sigma:
        return np.asarray(drawn)
    variance = np.exp(sigma**2)
    return np.asarray((np.exp(sigma * drawn) - np.sqrt(variance)) / np.sqrt(variance * (variance - 1.0)))


def study_with_interim_analyses(arms: dict[str, Array], interim_analyses: int) -> Study:
    """Return a study with given loss differences under each replacement; each replacement is measured only up to the
    interim analysis that settles its verdict.
    """
    import torch

    study = _study(arms)
    study.settings = replace(study.settings, interim_analyses=interim_analyses)
    nothing = torch.zeros(2, 2)
    batches = [Batch(nothing, nothing, torch.tensor([k, k + 1]), nothing, nothing) for k in range(0, DOCUMENTS, 2)]
    study.__dict__["batches"] = batches

    def losses(wanted: Sequence[Replacement], part: Sequence[Batch]) -> list[Array]:
        rows = np.concatenate([batch.index.numpy() for batch in part])
        return [study.loss[rows] + arms[one.arm][rows] for one in wanted]

    replacements = [Replacement(arm) for arm in arms]
    found = differences_by_analyses(
        losses,
        replacements,
        batches,
        study.loss,
        units=study.first_units,
        settings=study.settings,
        tests=len(arms),
    )
    study.__dict__["whole_model"] = dict(zip(arms, found, strict=True))
    return study


def _study(arms: dict[str, Array]) -> Study:
    import torch

    sequences = sequences_of(zipf_ids(DOCUMENTS, 2, torch.Generator().manual_seed(0)))
    study = Study(nn.Identity(), sequences, Settings(preset="quick", resamples=999))
    study.__dict__.update(
        whole_model=arms,
        loss=np.full(DOCUMENTS, 3.0),
        objective=Objective("next token"),
        observed=Evidence([LayerEvidence("planted", nn.Identity(), 0, 1, "")], {}),
    )
    return study


def _rate(event: str, happened: list[bool], nominal: float, promise: str = AT_MOST, effect: str = "") -> Rate:
    return Rate(
        claim="",
        event=event,
        world="",
        count=sum(happened),
        trials=len(happened),
        nominal=nominal,
        promise=promise,
        effect=effect,
    )
