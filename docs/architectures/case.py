"""One row of the page: how its model is made, and what goes through it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

SHARPNESS = 3.0
"""Weights are made a little larger than at initialisation, so that attention is not uniform."""

UNEVEN = 0.1
"""Standard deviation of parameters that begin as zeros."""


@dataclass(frozen=True)
class Batch:
    """What goes through a model in one forward.

    Attributes:
        inputs: Keyword arguments of the forward.
        real: ``(batch, position)`` bool of each stream that is padded: True at real positions. Streams differ in
            length, so that the rows of an attention module tell by their number whose they are.
    """

    inputs: Mapping[str, Any]
    real: tuple[Tensor, ...] = ()

    def rows(self, batch: int, queries: int) -> Tensor:
        """Which rows of an attention are real, ``(batch, query)`` bool."""
        for mask in self.real:
            if mask.shape == (batch, queries):
                return mask
        for mask in self.real:
            blocks, length = batch // mask.shape[0], mask.shape[1]
            if batch % mask.shape[0] == 0 and 0 <= blocks * queries - length < queries < length:
                filled = torch.nn.functional.pad(mask, (0, blocks * queries - length))
                return filled.reshape(batch, queries)  # a sequence in blocks, the last of them filled up
        return torch.ones(batch, queries, dtype=torch.bool)


@dataclass(frozen=True)
class Runs:
    """The forwards of one architecture.

    Attributes:
        alone: Forwards without padding: a sequence each, or the whole batch where nothing can be padded.
        padded: Name of the padding (``right``, ``left``) to the batch of all the sequences; empty without a mask.
    """

    alone: list[Batch]
    padded: dict[str, Batch] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One architecture.

    Attributes:
        name: Its name on the page.
        build: A tiny model with the attention that it chooses for itself; given True, the same whose weights can be
            watched (``eager``).
        runs: What goes through it.
        package: The package it needs beyond transformers, as ``name`` or ``name<major``; or empty.
        family: Where it stands in the page's summary.
        positions: Path and shape of a module's weights to the key position of its first query; None where queries and
            keys are other sequences.
        weights: Keyword arguments that ask the model for its attention weights.
        ignores: Why the model attends to padding whatever mask it is given, so that such rows are its own; or empty.
        interleaved: Whether what follows the attention holds the first component of every head, then the second.
    """

    name: str
    build: Callable[[bool], nn.Module]
    runs: Callable[[nn.Module], Runs]
    package: str = ""
    family: str = "text"
    positions: Callable[[str, int, int], int | None] | None = None
    weights: Mapping[str, Any] = field(default_factory=dict)
    ignores: str = ""
    interleaved: bool = False

    def absent(self) -> str:
        """The package that is missing, or empty."""
        if not self.package:
            return ""
        name, _, below = self.package.partition("<")
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return self.package
        return self.package if below and int(version.split(".")[0]) >= int(below) else ""


def sharpened(model: nn.Module, by: float = SHARPNESS) -> nn.Module:
    """The model with larger weights, none of them all zero (queries and gates that begin so), in evaluation mode."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if not bool(parameter.any()):
                parameter.normal_(0.0, UNEVEN, generator=generator)
            elif parameter.dim() > 1:
                parameter.mul_(by)
    return model.eval()


def seeded(build: Callable[[], nn.Module], by: float = SHARPNESS) -> nn.Module:
    """A model whose random weights are always the same ones."""
    torch.manual_seed(3)
    return sharpened(build(), by)
