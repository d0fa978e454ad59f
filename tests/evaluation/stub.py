"""A study that is nothing but its numbers."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import nn

from heedful.evaluation.evidence import Evidence, LayerEvidence
from heedful.evaluation.settings import Settings


def stub_study(heads: tuple[int, ...] = (2, 2), **more: Any) -> SimpleNamespace:
    """What verdicts on heads read of a study: settings, layers, null models and the tested statistics beside them."""
    layers = [LayerEvidence(f"layer.{index}", nn.Identity(), index, count, "") for index, count in enumerate(heads)]
    tested = more.pop("tested", {})
    options = {"resamples": 499, **more.pop("settings", {})}
    known: dict[str, Any] = {
        "settings": Settings(**options),
        "observed": Evidence(layers, {}),
        "nulls": {},
        "null_reason": "no null comparison was requested",
        "null_words": "untrained models of the same config",
        "on_null_subset": lambda name: tested.get(name, np.zeros(sum(heads))),
    }
    study = SimpleNamespace(**{**known, **more})
    study.once = cache(lambda question: question(study))
    return study


def documents(means: list[float], spread: float = 0.01, count: int = 20, seed: int = 0) -> np.ndarray:
    """``(document, head)`` with exactly these means over documents."""
    noise = np.random.default_rng(seed).normal(size=(count, len(means)))
    noise = (noise - noise.mean(0)) / noise.std(0)
    return np.array(means) + spread * noise
