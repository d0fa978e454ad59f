"""Orders in which layers, heads or dimensions are removed.

Settings of a pruning measurement: what to remove, and how many random orders to try.

Remove layers, heads and dimensions from a running model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.changed_keys import attended
from heedful.compression.loss_context import EvaluationContext, label_losses
from heedful.compression.redundancy import LayerKeys, Stored, stored_keys
from heedful.errors import UsageError
from heedful.evaluation.evidence import Array
from heedful.loading.batch import Batch

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
    """Return a removal that leaves out the first ``number`` units of an order."""
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


PARTS = ("layers", "heads", "dimensions")
FRACTIONS = (0.1, 0.25, 0.5, 0.75)
ORDERS = 19
"""Random orders by default: the fewest among which an order can stand out at 5 %."""
EACH_ALONE = 64
"""Units of a part up to which each is removed alone."""


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Fractions and parts to remove, and the number of random orders.

    Attributes:
        parts: Names of ``PARTS``.
        fractions: Shares of the units of a part.
        orders: Random orders.
        each_alone: Units of a part up to which each is removed alone, one run of the model each.

    Raises:
        UsageError: A name or a number is out of range.
    """

    parts: tuple[str, ...] = PARTS
    fractions: tuple[float, ...] = FRACTIONS
    orders: int = ORDERS
    each_alone: int = EACH_ALONE

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise UsageError(f"part: expected some of {', '.join(PARTS)}; got {', '.join(map(str, unknown)) or 'none'}")
        for name, values in (
            ("fraction", self.fractions),
            ("orders", (self.orders,)),
            ("each_alone", (self.each_alone,)),
        ):
            wrong = [value for value in values if isinstance(value, bool) or not isinstance(value, int | float)]
            if wrong:
                raise UsageError(f"{name}: expected a number, got {wrong[0]!r:.60}")
        beyond = [fraction for fraction in self.fractions if not 0 < fraction < 1]
        if beyond or not self.fractions:
            raise UsageError(f"fraction: expected numbers between 0 and 1, got {beyond or 'none'}")
        if self.orders < 2:
            raise UsageError(f"orders: expected at least 2 random orders, got {self.orders}")
        if self.each_alone < 0:
            raise UsageError(f"each_alone: expected 0 or more, got {self.each_alone}")


@dataclass(frozen=True)
class Removal:
    """The layers, heads and dimensions to remove.

    Attributes:
        heads: Module path to the query heads whose output becomes 0; all of them for a layer.
        dimensions: Module path to ``(key_head, dim)`` bool, True where a component is left out of keys and queries.
    """

    heads: Mapping[str, frozenset[int]] = field(default_factory=dict)
    dimensions: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def name(self) -> object:
        """A hashable key that is equal for equal removals."""
        gone = ((module, tuple(mask.flatten().tolist())) for module, mask in sorted(self.dimensions.items()))
        return tuple(sorted((module, tuple(sorted(heads))) for module, heads in self.heads.items())), tuple(gone)

    def output(self, stored: Stored) -> Tensor | None:
        """Return a call's output without the removed parts; None if nothing of the call is removed."""
        if stored.module in self.dimensions:
            return attended(without_dimensions(stored.call, self.dimensions[stored.module]))
        gone = self.heads.get(stored.module)
        if not gone:
            return None
        output = stored.own().clone()
        output[:, sorted(gone)] = 0
        return output


def without_dimensions(call: AttentionCall, gone: Tensor) -> AttentionCall:
    """Remove some components of queries and keys from a call; scale and all else stay.

    A component that is 0 in the key adds nothing to any product, whatever the query has there.

    Args:
        call: The attention call.
        gone: ``(key_head, dim)`` bool.
    """
    return replace(call, key=call.key.masked_fill(gone.to(call.key.device)[None, :, None], 0.0))


def losses_without(
    context: EvaluationContext, batches: Sequence[Batch], removal: Removal, tick: Callable[[], None]
) -> Array:
    """Return losses with three sets of labels after a removal, ``(sequence, 3)`` in nats per token."""
    now: list[Batch] = [batches[0]]
    parts = []
    with stored_keys(context.model, now, "after", removal.output):
        for batch in batches:
            now[:] = [batch]
            parts.append(label_losses(context, [batch], tick))
    return np.concatenate(parts)
