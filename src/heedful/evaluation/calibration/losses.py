"""Calibrate ablation claims on paired loss differences of known mean, with normal and with skewed noise.

Simulate interim analyses: how often a true null hypothesis is rejected, and how early an effect is detected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from heedful.evaluation.ablation import ARMS, Replacement, differences_by_analyses
from heedful.evaluation.calibration.planted_study import sequences_of, zipf_ids
from heedful.evaluation.calibration.rate import AT_LEAST, AT_MOST, Rate
from heedful.evaluation.evidence import Array, Evidence, LayerEvidence
from heedful.evaluation.objective import Objective
from heedful.evaluation.registry import CHECKS
from heedful.evaluation.result import Finding
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.inference.interim_analyses import repeated_interval
from heedful.inference.interval import Interval, student_t
from heedful.inference.margin import minimal_detectable_effect
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
    """Return a study with given loss differences, where each replacement is measured until its verdict is settled."""
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
