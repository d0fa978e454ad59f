"""Split a call into blocks of queries; each block hands its last rows to the next one.

Position tensors that depend only on sequence lengths, cached for calls of equal lengths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from heedful.attention.axes import LAGS, LOCAL_DISTANCE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.groups import GroupLabels

CPU_ELEMENTS = 2**20
"""Logits held at once on a CPU: 4 MB of float32, which stays near the cores' caches (benchmarks/engine.py)."""

DEVICE_ELEMENTS = 2**25
"""Logits held at once elsewhere: 128 MB of float32, enough to fill an accelerator."""

LEAST_ROWS, MOST_ROWS = 16, 128
"""Rows of a block: more than the longest lag, and few enough that little of a causal block is wasted."""


def plan(call: AttentionCall, elements: int | None = None) -> Iterator[tuple[slice, slice, int]]:
    """Yield the parts of a call: sequence slice, key-head slice, and the number of query rows per block.

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
    # Rows make matrix products efficient; further heads only spare calls, so they get half the room and stay in caches.
    units = max(1, elements // (2 * row * rows))
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
class BlockPart:
    """Some sequences and key heads of a call, laid out for matrix products.

    Attributes:
        call: The call cut to this part, in the dtype of the statistics.
        target: Slices of sequences and query heads in the whole call.
        query: ``(batch, kv_head, group, query, dim)``; scale, and base 2 where there is no softcap, folded in.
        key: ``(batch * kv_head, dim, key)``.
        value: ``(batch * kv_head, key, value_dim)`` or None.
        first: ``(batch, query)`` first key that the sequence, or the query's document, shows.
        position: ``(batch, key, 1)`` position counted from there; None where rows differ in it (packed documents).
        near: ``(batch, 1, query, column)`` keys whose weight is kept: around the own position, then the first key.
        labels: Groups of the part's sequences, columns in the dtype of the statistics; or None.
    """

    call: AttentionCall
    target: tuple[slice, slice]
    query: Tensor
    key: Tensor
    value: Tensor | None
    first: Tensor
    position: Tensor | None
    near: Tensor
    labels: GroupLabels | None

    @classmethod
    def of(
        cls,
        whole: AttentionCall,
        target: tuple[slice, slice],
        dtype: torch.dtype,
        first: Tensor,
        labels: GroupLabels | None,
    ) -> BlockPart:
        """Select sequences ``target[0]`` and key heads ``target[1]`` of a call."""
        call = cut(whole, *target, dtype)
        batch, kv_heads, repeated = call.batch, call.kv_heads, call.heads // call.kv_heads
        heads = slice(target[1].start * repeated, target[1].stop * repeated)
        scale = call.scale if call.softcap is not None else call.scale / math.log(2.0)
        first = first[target[0]]
        position = torch.arange(call.n_keys, device=first.device) - first[:, :1]
        return cls(
            call=call,
            target=(target[0], heads),
            query=(call.query * scale).view(batch, kv_heads, repeated, call.n_queries, -1),
            key=call.key.reshape(batch * kv_heads, call.n_keys, -1).transpose(1, 2),
            value=None if call.value is None else call.value.reshape(batch * kv_heads, call.n_keys, -1),
            first=first,
            position=None if call.visibility.documents is not None else position.to(dtype)[..., None],
            near=near_keys(call, first)[:, None],
            labels=None if labels is None else labels.part(target[0]).to(dtype),
        )


def near_keys(call: AttentionCall, first: Tensor) -> Tensor:
    """Return the keys from 5 positions before to 5 after each query, then the query's first visible key, ``(batch,
    query, column)``.

    Args:
        call: The attention call.
        first: ``(batch, query)`` first key of each row.

    Returns:
        ``(batch, query, column)``: keys from 5 before to 5 after each query's own, and the first key.
    """
    device = first.device
    own = torch.arange(call.n_queries, device=device)[:, None] + (call.offset or 0)
    around = own + torch.arange(-LOCAL_DISTANCE, LOCAL_DISTANCE + 1, device=device)
    return torch.cat([around.expand(call.batch, -1, -1), first[..., None]], dim=-1)


def cut(call: AttentionCall, batch: slice, kv_heads: slice, dtype: torch.dtype) -> AttentionCall:
    """Select sequences and key heads of a call, converted to the dtype of the statistics."""
    whole = batch == slice(0, call.batch) and kv_heads == slice(0, call.kv_heads)
    tensors = (call.query, call.key, call.value, call.sink)
    if whole and all(tensor is None or tensor.dtype == dtype for tensor in tensors):
        return call
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


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that disables autocast, or one without effect if autocast is off."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


@dataclass
class Scratch:
    """Buffers for logits, weights and products, reused by all blocks of a call."""

    dtype: torch.dtype
    device: torch.device
    _buffers: dict[int, Tensor] = field(default_factory=dict)

    def take(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """Return a contiguous tensor of this shape from a buffer; its previous content is lost."""
        size = math.prod(shape)
        buffer = self._buffers.get(slot)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[slot] = torch.empty(size, dtype=self.dtype, device=self.device)
        return buffer[:size].view(shape)


@dataclass
class Tail:
    """Last rows of the previous block, which are compared with the first rows of the current block."""

    weights: Tensor | None = None
    first: int = 0

    def products(self, weights: Tensor, begin: int, first: int, scratch: Scratch) -> Iterator[tuple[int, int, Tensor]]:
        """Yield the dot products of weight rows ``i`` and ``i + lag``, then store this block's last rows for the next
        call.

        Args:
            weights: ``(batch, head, query, key)`` un-normalised weights of the block.
            begin: First query of the block.
            first: First key of the block.
            scratch: Buffers; slot 0 is overwritten.

        Yields:
            The lag, first query it is for, ``(batch, head, pair)`` values at the earlier query of each pair.
        """
        rows = weights.shape[2]
        for lag in LAGS:
            if self.weights is not None:
                count = min(lag, rows)
                low = max(first, self.first)
                high = max(low, min(first + weights.shape[3], self.first + self.weights.shape[3]))
                old = self.weights[:, :, -lag:][:, :, :count, low - self.first : high - self.first]
                yield lag, begin - lag, (old * weights[:, :, :count, low - first : high - first]).sum(-1)
            if rows > lag:
                early, late = weights[:, :, :-lag], weights[:, :, lag:]
                yield lag, begin, torch.mul(early, late, out=scratch.take(0, tuple(early.shape))).sum(-1)
        self.weights, self.first = weights[:, :, -max(LAGS) :].clone(), first


UNSEEN = -1e30
"""Base-2 logit of a key that is not visible; its exponential is exactly 0 in float32 and float64."""

REMEMBERED, PAIRS = 8, 2**16
"""Layouts that are remembered, and the most (query, key) pairs of one that is: together a few MB."""

BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


@dataclass(frozen=True)
class CallPositions:
    """Position tensors shared by all calls with the same lengths.

    Attributes:
        position: ``(key,)`` position of each key, in the dtype of the statistics.
        visible: ``(query,)`` int64 number of keys that the causal rule, or none, leaves to each query.
        seen_by: ``(key,)`` int64 number of queries that see each key by it.
        empty: ``(query,)`` bool, True where that number is 0; None where it nowhere is.
        around: ``(query, column)`` int64 keys from 5 before to 5 after each query's own, moved inside; None where
            queries and keys share no positions.
        outside: ``(query, column)`` bool, True where the key was moved.
        inside: Whether every query stands at a key.
        unpaired: ``(query,)`` for each of ``LAGS``: NaN where no query follows at that distance, 0 elsewhere.
        nothing: NaN, in place of what is not wanted.
        bounds: Two ``(query, key)`` integer arrays, or None where the causal rule hides nothing; see ``hide``.
    """

    position: Tensor
    visible: Tensor
    seen_by: Tensor
    empty: Tensor | None
    around: Tensor | None
    outside: Tensor | None
    inside: bool
    unpaired: tuple[Tensor, ...]
    nothing: Tensor
    bounds: tuple[Tensor, Tensor] | None

    def hide(self, logits: Tensor) -> None:
        """Set logits ``(..., query, key)`` of later keys to ``UNSEEN``, in place.

        The bits of a float, taken for an integer and held between two equal bounds, become those of the bound, and
        between the least and the largest integer stay what they are: one pass several times as fast as
        ``masked_fill_``.
        """
        if self.bounds is not None:
            logits.view(BITS[logits.dtype]).clamp_(*self.bounds)


_layouts: dict[tuple[object, ...], CallPositions] = {}


def layout(call: AttentionCall, dtype: torch.dtype) -> CallPositions:
    """Return the cached position tensors for the lengths and the causal rule of a call.

    Args:
        call: The call.
        dtype: Of the statistics.
    """
    key = (call.n_queries, call.n_keys, call.offset, call.visibility.is_causal, dtype, call.query.device)
    found = _layouts.get(key)
    if found is None:
        found = _made(*key)
        # Tensors of another class are of a tracer that will be gone.
        if call.n_queries * call.n_keys <= PAIRS and type(found.position) is Tensor:
            while len(_layouts) >= REMEMBERED:
                _layouts.pop(next(iter(_layouts)), None)
            _layouts[key] = found
    return found


@torch.inference_mode(False)
def _made(
    n_queries: int, n_keys: int, offset: int | None, is_causal: bool, dtype: torch.dtype, device: torch.device
) -> CallPositions:
    query, key = torch.arange(n_queries, device=device), torch.arange(n_keys, device=device)
    start = offset or 0
    visible, seen_by = torch.full_like(query, n_keys), torch.full_like(key, n_queries)
    if is_causal:
        visible = (query + start + 1).clamp(0, n_keys)
        seen_by = n_queries - (key - start).clamp(0, n_queries)
    zero = torch.zeros(n_queries, dtype=dtype, device=device)
    around = outside = None
    if offset is not None:
        near = query[:, None] + offset + torch.arange(-LOCAL_DISTANCE, LOCAL_DISTANCE + 1, device=device)
        around = near.clamp(0, n_keys - 1)
        outside = near != around
    return CallPositions(
        position=key.to(dtype),
        visible=visible,
        seen_by=seen_by,
        empty=(visible == 0) if is_causal and start < 0 else None,
        around=around,
        outside=outside,
        inside=offset is not None and 0 <= offset <= n_keys - n_queries,
        unpaired=tuple(torch.where(query + lag < n_queries, zero, math.nan) for lag in LAGS),
        nothing=torch.full((), math.nan, dtype=dtype, device=device),
        bounds=_bounds(query, key, start, dtype) if is_causal and start + 1 < n_keys else None,
    )


def _bounds(query: Tensor, key: Tensor, start: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Bits of ``UNSEEN`` twice where a key lies after the query's own, the ends of the integers elsewhere."""
    hidden = key > query[:, None] + start
    bits = BITS[dtype]
    unseen = torch.tensor(UNSEEN, dtype=dtype, device=key.device).view(bits)
    ends = torch.iinfo(bits)
    low, high = (torch.full(hidden.shape, end, dtype=bits, device=key.device) for end in (ends.min, ends.max))
    return torch.where(hidden, unseen, low), torch.where(hidden, unseen, high)
