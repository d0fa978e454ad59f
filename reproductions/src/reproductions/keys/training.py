"""Training runs for the claims on keys: one of the note's size, and small ones with controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedful.loading.documents import Documents

GAIN_RATE, GAIN_DECAY = 6e-3, 0.2
"""Learning rate and weight decay of gains in the study that the note is on, constant over the run."""


@dataclass(frozen=True, kw_only=True)
class TrainingArm:
    """A training configuration, run with several seeds.

    Attributes:
        name: Its name; a run is ``NAME-SEED``.
        settings: Fields of ``RunSettings``.
        seeds: How many runs.
        gain_decay: Weight decay of the gains.
    """

    name: str
    settings: dict[str, Any]
    seeds: int
    gain_decay: float = GAIN_DECAY


NOTE = {"preset": "seed", "steps": 1000, "vocabulary": 2048, "length": 256, "batch": 2, "precision": "bfloat16"}
TWIN = {"preset": "small", "steps": 200, "vocabulary": 1024, "length": 128, "batch": 4, "learning_rate": 2e-3}
TINY = {"preset": "tiny", "steps": 300, "learning_rate": 2e-3}
LOW, HIGH = 0.01, 0.1
"""Weights of the penalty."""


def _arms(name: str, settings: dict[str, Any], seeds: int) -> list[TrainingArm]:
    """As the note trains; with gains held; with a weak and with a strong penalty."""
    low, high = ({"max_share_penalty": weight} for weight in (LOW, HIGH))
    return [
        TrainingArm(name=f"{name}-decay", settings=settings, seeds=seeds),
        TrainingArm(name=f"{name}-held", settings=settings, seeds=seeds, gain_decay=0.0),
        TrainingArm(name=f"{name}-low", settings=settings | low, seeds=seeds),
        TrainingArm(name=f"{name}-high", settings=settings | high, seeds=seeds),
    ]


ARMS = [*_arms("twin", TWIN, 3), *_arms("tiny", TINY, 5), TrainingArm(name="note", settings=NOTE, seeds=1)]


def train_arms(
    documents: Documents,
    out: Path,
    *,
    arms: Iterable[TrainingArm] = ARMS,
    tell: Callable[[str], None] = lambda _line: None,
) -> None:
    """Train every missing run; interrupted runs are resumed.

    Args:
        documents: The text.
        out: Folder of measurements.
        arms: Which.
        tell: Called with a line now and then.

    Raises:
        UsageError: A run there was begun otherwise.
    """
    from heedful.training.decoder_run import train_decoder
    from heedful.training.run_folder import RunFolder
    from heedful.training.run_settings import RunSettings

    runs = [(seed, arm) for arm in arms for seed in range(arm.seeds)]
    for seed, arm in sorted(runs, key=lambda pair: pair[0]):
        run = out / f"{arm.name}-{seed}"
        if (run / "held_out.json").exists():
            continue
        tell(f"{run.name}")
        settings = RunSettings(
            **({"learning_rate": 1e-3} | arm.settings), seed=seed, track_every=10, save_every=arm.settings["steps"] // 5
        )
        begun = RunFolder(run).last_checkpoint() is not None
        train_decoder(settings, documents, run, resume=begun, tell=tell, prepare=_with_gains(settings, arm.gain_decay))


def _with_gains(settings: Any, decay: float) -> Callable[[Any], None]:
    """Rates that stay as they are, after a rise for the matrices; gains with rate and decay of their own."""

    def prepare(trainer: Any) -> None:
        import torch

        parameters = list(trainer.model.parameters())
        gains = [parameter for parameter in parameters if parameter.dim() < 2]
        matrices = [parameter for parameter in parameters if parameter.dim() >= 2]
        groups = [
            {"params": matrices, "lr": settings.learning_rate, "weight_decay": settings.weight_decay},
            {"params": gains, "lr": GAIN_RATE, "weight_decay": decay},
        ]
        rise = max(1, round(settings.warmup_share * settings.steps))
        trainer.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            trainer.optimizer, [lambda step: min(1.0, (step + 1) / rise), lambda step: 1.0]
        )

    return prepare
