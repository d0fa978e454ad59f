"""Select the sequences and positions of a batch to measure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.errors import UsageError
from heedful.monitoring.vectors.vectors import Vectors


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
        """The same of half the sequences, at least one: what a brief record measures."""
        return replace(self, sequences=max(1, self.sequences // 2))

    def rows(self, call: AttentionCall) -> int:
        """Sequences of a call whose rows are measured at most, by ``sequences`` and by ``logits``.

        Args:
            call: The attention call.
        """
        if self.logits is None:
            return self.sequences
        return min(self.sequences, max(1, self.logits // (call.heads * call.n_queries * call.n_keys)))


def sampled(values: Tensor, real: Tensor | None, sample: Sample, turn: int) -> Vectors:
    """Select a sample of the vectors; the largest absolute component of each head is computed over all vectors, not
    just the sample.

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
