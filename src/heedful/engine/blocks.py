"""How a call is cut into parts and blocks, where blocks leave their results, and what neighbouring blocks hand on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from heedful.core.axes import LAGS
from heedful.core.call import AttentionCall
from heedful.engine.moments import KeyMoments, Moments, RowMoments

CPU_ELEMENTS = 2**20
"""Logits held at once on a CPU: 4 MB of float32, which stays near the cores' caches (benchmarks/engine.py)."""

DEVICE_ELEMENTS = 2**25
"""Logits held at once elsewhere: 128 MB of float32, enough to fill an accelerator."""

LEAST_ROWS, MOST_ROWS = 16, 128
"""Rows of a block: more than the longest lag, and few enough that little of a causal block is wasted."""

STANDING = (
    "logsumexp",
    "total",
    "entropy",
    "max_weight",
    "collision",
    "mean_position",
    "self_mass",
    "previous_mass",
    "first_mass",
    "local_mass",
    "lag_overlap",
    "distant_overlap",
)
"""Row moments that every call gets, in the order in which they are stored."""


def plan(call: AttentionCall, elements: int | None = None) -> Iterator[tuple[slice, slice, int]]:
    """Parts of a call, each with the number of query rows to hold at once.

    Yields:
        Slice of sequences, slice of key heads, rows a block.
    """
    on_cpu = call.query.device.type == "cpu"
    if elements is None:
        elements = CPU_ELEMENTS if on_cpu else DEVICE_ELEMENTS
    most = min(call.n_queries, MOST_ROWS if on_cpu else 8 * MOST_ROWS)
    window = call.visibility.window
    width = call.n_keys if window is None else min(call.n_keys, 2 * window + most)
    row = call.heads // call.kv_heads * width
    rows = max(min(LEAST_ROWS, call.n_queries), min(most, elements // row))
    units = max(1, elements // (row * rows))
    heads = min(call.kv_heads, units)
    sequences = max(1, units // call.kv_heads)
    for start in range(0, call.batch, sequences):
        for head in range(0, call.kv_heads, heads):
            yield (
                slice(start, min(start + sequences, call.batch)),
                slice(head, min(head + heads, call.kv_heads)),
                rows,
            )


@dataclass(frozen=True)
class Part:
    """Some sequences and key heads of a call, laid out for matrix products.

    Attributes:
        call: The call cut to this part, in the dtype of the statistics.
        target: Slices of sequences and query heads in the whole call.
        query: ``(batch, kv_head, group, query, dim)``; scale, and base 2 where there is no softcap, folded in.
        key: ``(batch * kv_head, dim, key)``.
        value: ``(batch * kv_head, key, value_dim)`` or None.
        position: ``(batch, key)`` position counted from the first key that the sequence shows.
        first: ``(batch,)`` that first key.
        groups: ``(batch, key, group)`` or None.
    """

    call: AttentionCall
    target: tuple[slice, slice]
    query: Tensor
    key: Tensor
    value: Tensor | None
    position: Tensor
    first: Tensor
    groups: Tensor | None

    @classmethod
    def of(
        cls,
        whole: AttentionCall,
        target: tuple[slice, slice],
        dtype: torch.dtype,
        first: Tensor,
        groups: Tensor | None,
    ) -> Part:
        """Cut sequences ``target[0]`` and key heads ``target[1]`` out of a call."""
        call = _cut(whole, *target, dtype)
        batch, kv_heads, repeated = call.batch, call.kv_heads, call.heads // call.kv_heads
        heads = slice(target[1].start * repeated, target[1].stop * repeated)
        scale = call.scale if call.softcap is not None else call.scale / math.log(2.0)
        first = first[target[0]]
        return cls(
            call=call,
            target=(target[0], heads),
            query=(call.query * scale).view(batch, kv_heads, repeated, call.n_queries, -1),
            key=call.key.reshape(batch * kv_heads, call.n_keys, -1).transpose(1, 2),
            value=None if call.value is None else call.value.reshape(batch * kv_heads, call.n_keys, -1),
            position=(torch.arange(call.n_keys, device=first.device)[None, :] - first[:, None]).to(dtype),
            first=first,
            groups=None if groups is None else groups[target[0]].to(first.device, dtype),
        )


def _cut(call: AttentionCall, batch: slice, kv_heads: slice, dtype: torch.dtype) -> AttentionCall:
    repeated = call.heads // call.kv_heads
    heads = slice(kv_heads.start * repeated, kv_heads.stop * repeated)
    bias = call.bias
    if bias is not None:
        bias = bias if bias.shape[0] == 1 else bias[batch]
        bias = bias if bias.shape[1] == 1 else bias[:, heads]
    return replace(
        call,
        query=call.query[batch, heads].to(dtype, memory_format=torch.contiguous_format),
        key=call.key[batch, kv_heads].to(dtype),
        value=None if call.value is None else call.value[batch, kv_heads].to(dtype),
        visibility=call.visibility.part(batch, heads),
        bias=bias,
        sink=None if call.sink is None else call.sink[heads].to(dtype),
    )


@dataclass
class Scratch:
    """Buffers to which every block of a call writes its logits, weights and products: none is allocated anew."""

    dtype: torch.dtype
    device: torch.device
    _buffers: dict[int, Tensor] = field(default_factory=dict)

    def take(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """A contiguous tensor of this shape; whatever was in the slot is lost."""
        size = math.prod(shape)
        buffer = self._buffers.get(slot)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[slot] = torch.empty(size, dtype=self.dtype, device=self.device)
        return buffer[:size].view(shape)


@dataclass(frozen=True)
class Gathered:
    """Arrays of the whole call, which blocks fill.

    Attributes:
        standing: ``(moment, batch, head, query)`` in the order of ``STANDING``.
        visible: ``(batch, head, query)`` int64.
        received: ``(batch, head, key)``.
        seen_by: ``(batch, head, key)`` int64.
        output: ``(batch, head, query, value_dim)`` or None.
        extras: Further row moments by name, made when first stored.
    """

    standing: Tensor
    visible: Tensor
    received: Tensor
    seen_by: Tensor
    output: Tensor | None
    extras: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, call: AttentionCall, dtype: torch.dtype) -> Gathered:
        """Empty arrays for one call."""
        device, rows, keys = (
            call.query.device,
            (call.batch, call.heads, call.n_queries),
            (call.batch, call.heads, call.n_keys),
        )
        return cls(
            standing=torch.full((len(STANDING), *rows), math.nan, dtype=dtype, device=device),
            visible=torch.zeros(rows, dtype=torch.int64, device=device),
            received=torch.zeros(keys, dtype=dtype, device=device),
            seen_by=torch.zeros(keys, dtype=torch.int64, device=device),
            output=None if call.value is None else torch.zeros(*rows, call.value.shape[-1], dtype=dtype, device=device),
        )

    def add_extra(self, name: str, value: Tensor, target: tuple[slice, slice], span: slice) -> None:
        """Store ``(batch, head, query, ...)`` values of one block."""
        if name not in self.extras:
            shape = (*self.visible.shape, *value.shape[3:])
            self.extras[name] = torch.full(shape, math.nan, dtype=value.dtype, device=value.device)
        self.extras[name][(*target, span)] = value

    def moments(self, n_keys: int) -> Moments:
        """The record of a call of which every block is done."""
        standing = dict(zip(STANDING, self.standing.unbind(0), strict=True))
        rows = RowMoments(visible=self.visible, n_keys=n_keys, **standing, **self.extras)
        return Moments(rows, KeyMoments(self.received, self.seen_by), self.output, "tiled")


@dataclass
class Tail:
    """The last rows of the block before: the partners of this block's first rows."""

    weights: Tensor | None = None
    inverse: Tensor | None = None
    first: int = 0

    def overlaps(
        self, weights: Tensor, inverse: Tensor, begin: int, first: int, scratch: Scratch
    ) -> Iterator[tuple[str, int, Tensor]]:
        """Overlap of rows ``i`` and ``i + lag`` for every pair that ends in this block; the tail becomes this block's.

        Args:
            weights: ``(batch, head, query, key)`` un-normalised weights of the block.
            inverse: ``(batch, head, query)`` inverse of their normaliser, NaN at rows that see nothing.
            begin: First query of the block.
            first: First key of the block.
            scratch: Buffers; slot 0 is overwritten.

        Yields:
            Name of the moment, first query it is for, ``(batch, head, pair)`` values at the earlier query of each pair.
        """
        rows = weights.shape[2]
        for name, lag in zip(("lag_overlap", "distant_overlap"), LAGS, strict=True):
            if self.weights is not None and self.inverse is not None:
                count = min(lag, rows)
                low = max(first, self.first)
                high = min(first + weights.shape[3], self.first + self.weights.shape[3])
                old = self.weights[:, :, -lag:][:, :, :count, low - self.first : max(low, high) - self.first]
                new = weights[:, :, :count, low - first : max(low, high) - first]
                scale = self.inverse[:, :, -lag:][:, :, :count] * inverse[:, :, :count]
                yield name, begin - lag, (old * new).sum(-1) * scale
            if rows > lag:
                early, late = weights[:, :, :-lag], weights[:, :, lag:]
                product = torch.mul(early, late, out=scratch.take(0, tuple(early.shape)))
                yield name, begin, product.sum(-1) * (inverse[:, :, :-lag] * inverse[:, :, lag:])
        keep = max(LAGS)
        self.weights, self.inverse, self.first = weights[:, :, -keep:].clone(), inverse[:, :, -keep:].clone(), first
