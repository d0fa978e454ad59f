"""Orders in which layers, heads or dimensions are removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from heedful.compression.redundancy import LayerKeys
from heedful.compression.removal import Removal
from heedful.evaluation.evidence import Array

RANDOM = "random"


@dataclass(frozen=True)
class Unit:
    """One removable unit: a layer (all its heads) or one query head."""

    layer: int
    module: str
    heads: frozenset[int]

    @property
    def head(self) -> int | None:
        """Head index; None if the unit is a layer."""
        return next(iter(self.heads)) if len(self.heads) == 1 else None


def layer_units(layers: Sequence[LayerKeys]) -> list[Unit]:
    """Return one unit for every layer."""
    return [Unit(number, layer.module, frozenset(range(layer.heads))) for number, layer in enumerate(layers)]


def head_units(layers: Sequence[LayerKeys]) -> list[Unit]:
    """Return one unit for every query head."""
    return [
        Unit(number, layer.module, frozenset([head]))
        for number, layer in enumerate(layers)
        for head in range(layer.heads)
    ]


def ordered(scores: Array, seed: int) -> list[int]:
    """Return indices in ascending order of score; ties in seeded random order, NaN last."""
    random = np.random.default_rng(seed).permutation(len(scores))
    return [int(k) for k in random[np.argsort(np.nan_to_num(scores, nan=np.inf)[random], kind="stable")]]


def shuffled(count: int, seed: int) -> list[int]:
    """Return indices in seeded random order."""
    return [int(k) for k in np.random.default_rng(seed).permutation(count)]


def taken(fraction: float, count: int) -> int:
    """Return the number of units for a fraction: at least one, never all."""
    return min(max(1, round(fraction * count)), max(1, count - 1))


def numbers(fractions: Sequence[float], count: int) -> list[tuple[float, int]]:
    """Return pairs ``(fraction, number of units)`` in ascending order; if fractions give the same number of units,
    only the closest one is kept.
    """
    found: dict[int, float] = {}
    for fraction in fractions:
        number = taken(fraction, count)
        if number not in found or abs(fraction - number / count) < abs(found[number] - number / count):
            found[number] = fraction
    return sorted((fraction, number) for number, fraction in found.items())


def without_units(units: Sequence[Unit], order: Sequence[int], number: int) -> Removal:
    """Return the removal of the first ``number`` units of an order."""
    heads: dict[str, frozenset[int]] = {}
    for place in order[:number]:
        unit = units[place]
        heads[unit.module] = heads.get(unit.module, frozenset()) | unit.heads
    return Removal(heads=heads)


def dimension_scores(layer: LayerKeys) -> Mapping[str, torch.Tensor]:
    """Return the score of each dimension group, ``(key_head, group)``, by name of the ranking; groups with the lowest
    scores are removed first.
    """
    values = {"contribution": layer.contribution, "key variance": layer.variance}
    if layer.gain is not None:
        values["gain product"] = layer.gain.expand(layer.key_heads, -1)
    found = {}
    for name, value in values.items():
        found[name] = torch.stack([value[:, group].mean(-1) for group in layer.groups], -1)
    return found


def without_dimensions_of(layers: Sequence[LayerKeys], ranking: str, fraction: float, seed: int) -> Removal:
    """Return the removal of a fraction of each key head's dimension groups, by ranking or at random.

    Args:
        layers: Layers whose groups are known; others are left as they are.
        ranking: A key of ``dimension_scores``, or ``RANDOM``.
        fraction: Share of the groups.
        seed: Seed of random orders.
    """
    generator = torch.Generator().manual_seed(seed)
    gone = {}
    for layer in layers:
        if not layer.groups:
            continue
        count = len(layer.groups)
        if ranking == RANDOM:
            scores = torch.rand(layer.key_heads, count, generator=generator)
        else:
            scores = dimension_scores(layer)[ranking]
        mask = torch.zeros(layer.key_heads, layer.dim, dtype=torch.bool)
        for head, chosen in enumerate(scores.argsort(-1)[:, : taken(fraction, count)].tolist()):
            mask[head, [c for group in chosen for c in layer.groups[group]]] = True
        gone[layer.module] = mask
    return Removal(dimensions=gone)
