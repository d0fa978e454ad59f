"""Queries or keys of one layer, before or after positions are applied, in the layout for statistics.

Select the sequences and positions of a batch to measure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.errors import UsageError


@dataclass(frozen=True)
class Vectors:
    """Queries or keys, with a mask of the vectors included in the statistics.

    Attributes:
        values: ``(batch, head, position, dim)`` in float32 or better; 0 where not counted.
        energy: ``(batch, head, position)`` squared norms; 0 where not counted.
        counted: ``(batch, head, position)``, 1 where a vector is counted, else 0: padding and vectors that are not
            finite are left out.
        broken: ``(head,)`` number of vectors that stand at real positions and are not finite.
        largest: ``(head,)`` largest absolute component, of all vectors met and not of a sample alone.
    """

    values: Tensor
    energy: Tensor
    counted: Tensor
    broken: Tensor
    largest: Tensor

    @classmethod
    def of(cls, values: Tensor, real: Tensor | None = None, largest: Tensor | None = None) -> Vectors:
        """Create ``Vectors`` from queries or keys in a model's own layout.

        Args:
            values: ``(batch, head, position, dim)``.
            real: ``(batch, position)`` bool, False at padding; None where all are real.
            largest: ``(head,)`` largest absolute component of a larger set that these were sampled from.
        """
        values = values.detach()
        values = values if values.dtype == torch.float64 else values.float()
        energy = torch.linalg.vecdot(values, values)
        finite = energy.isfinite()
        if real is None:
            real = torch.ones_like(finite[:, 0])
        counted = finite & real[:, None]
        broken = (real[:, None] & ~finite).sum((0, 2))
        if bool(counted.all()):
            held, weight = values, counted.to(values.dtype)
        else:
            held = values.masked_fill(~counted[..., None], 0.0)
            energy, weight = energy.masked_fill(~counted, 0.0), counted.to(values.dtype)
        if largest is None:
            largest = held.abs().amax((0, 2, 3))
        return cls(held, energy, weight, broken, largest)

    @property
    def dim(self) -> int:
        """Number of components of a vector."""
        return int(self.values.shape[-1])


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How many sequences and positions of a batch to measure; selection uses no random numbers.

    Attributes:
        sequences: Sequences of a step at most: the first ones. Where a step is accumulated from several forwards, those
            of later ones follow until there are so many.
        positions: Queries and keys of a sequence at most: evenly spaced, from a start that moves on by one each time.
        logits: Logits of a call that its rows are measured on at most, but for one sequence: sequences beyond are left
            out there; None for no limit.

    Raises:
        UsageError: One of the two is less than what a statistic needs.
    """

    sequences: int = 4
    positions: int = 256
    logits: int | None = 2**21

    def __post_init__(self) -> None:
        for name, least in (("sequences", 1), ("positions", 2), ("logits", 1)):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise UsageError(f"sample {name}: expected at least {least}, got {getattr(self, name)}")

    def places(self, length: int, turn: int, device: torch.device) -> Tensor:
        """Return the positions to measure, ``(position,)`` int64.

        Args:
            length: Positions of a sequence.
            turn: How often was measured before.
            device: Where the answer is wanted.
        """
        stride = -(-length // self.positions)
        return torch.arange(turn % stride, length, stride, device=device)

    @property
    def half(self) -> Sample:
        """Sample with half as many sequences, at least one, as brief records use it."""
        return replace(self, sequences=max(1, self.sequences // 2))

    def rows(self, call: AttentionCall) -> int:
        """Return how many sequences of a call have their attention rows measured, as limited by ``sequences`` and
        ``logits``.

        Args:
            call: The attention call.
        """
        if self.logits is None:
            return self.sequences
        return min(self.sequences, max(1, self.logits // (call.heads * call.n_queries * call.n_keys)))


def sampled(values: Tensor, real: Tensor | None, sample: Sample, turn: int) -> Vectors:
    """Select a sample of the vectors; the largest component of each head is still that of all vectors.

    Args:
        values: ``(batch, head, position, dim)``.
        real: ``(batch, position)`` bool, False at padding; None where all are real.
        sample: How many.
        turn: How often was measured before.
    """
    values = values.detach()
    seen = values if real is None else values.masked_fill(~real[:, None, :, None], 0.0)
    low, high = torch.aminmax(seen.transpose(0, 1).flatten(1), dim=1)
    largest = torch.maximum(high, -low).nan_to_num(nan=torch.inf, posinf=torch.inf)
    places = sample.places(values.shape[2], turn, values.device)
    some = values[: sample.sequences].index_select(2, places)
    held = None if real is None else real[: sample.sequences].index_select(1, places)
    return Vectors.of(some, held, largest)


def first_sequences(call: AttentionCall, number: int) -> AttentionCall:
    """Return the call restricted to its first ``number`` sequences.

    Args:
        call: The attention call.
        number: Sequences that are kept at most.
    """
    if call.batch <= number:
        return call
    part = slice(0, number)
    bias = call.bias
    return replace(
        call,
        query=call.query[part],
        key=call.key[part],
        value=None if call.value is None else call.value[part],
        visibility=call.visibility.part(part, slice(None)),
        bias=bias if bias is None or bias.shape[0] == 1 else bias[part],
    )
