"""Small gauge models with beliefs that differ, and what breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.gauge.model.gauge_config import GaugeConfig


def belief_model(**other: Any) -> GaugeForCausalLM:
    """Two layers of five heads; frames and variances of a trained model's size."""
    torch.manual_seed(7)
    sizes: dict[str, Any] = {"vocab_size": 24, "irreps": "2x0e + 2x1e + 1x2e", "num_hidden_layers": 2}
    model = GaugeForCausalLM(GaugeConfig(**(sizes | other)))
    with torch.no_grad():
        model.model.beliefs.log_variance.weight.normal_(std=0.5)
        if model.model.beliefs.frame is not None:
            model.model.beliefs.frame.weight.mul_(3)
    return model.eval()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute that is another one inside."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def untied(frames: tuple[Tensor, ...], by: float) -> tuple[Tensor, ...]:
    """Frames that stretch by a factor: no rotations any more. Scalars keep theirs."""
    return tuple(frame if frame.shape[-1] == 1 else frame * by for frame in frames)
