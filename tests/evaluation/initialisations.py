"""Ways to draw the weights of an untrained model."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def plain(model: nn.Module) -> None:
    """PyTorch's own: uniform, variance 1 / (3 fan-in); embeddings of variance 1."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            module.reset_parameters()
        elif type(module).__name__ == "Conv1D":
            nn.init.uniform_(module.weight, -1 / math.sqrt(len(module.weight)), 1 / math.sqrt(len(module.weight)))


def drawn(model: nn.Module, deviation: Callable[[str, Tensor], float]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, deviation(name, parameter))


def fan_in(parameter: Tensor, name: str) -> int:
    return parameter.shape[0] if "c_" in name else parameter.shape[1]


INITIALISATIONS: dict[str, Callable[[nn.Module], None]] = {
    "0.02": lambda model: None,
    "PyTorch": plain,
    "1 / fan-in": lambda model: drawn(model, lambda name, p: fan_in(p, name) ** -0.5),
    "4 / fan-in": lambda model: drawn(model, lambda name, p: 2 * fan_in(p, name) ** -0.5),
    "muP-like": lambda model: drawn(model, lambda name, p: 1.0 if "emb" in name or "wte" in name else 0.7 / p.shape[1]),
    "deep-scaled": lambda model: drawn(model, lambda name, p: 0.3 / (4 if "proj" in name else 1)),
}
