"""How a call is cut into parts and blocks, and what neighbouring blocks hand on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from heedful.core.axes import LAGS
from heedful.core.call import AttentionCall

CPU_ELEMENTS = 2**20
"""Logits held at once on a CPU: 4 MB of float32, which stays near the cores' caches (benchmarks/engine.py)."""

DEVICE_ELEMENTS = 2**25
"""Logits held at once elsewhere: 128 MB of float32, enough to fill an accelerator."""

LEAST_ROWS, MOST_ROWS = 16, 128
"""Rows of a block: more than the longest lag, and few enough that little of a causal block is wasted."""


def plan(call: AttentionCall, elements: int | None = None) -> Iterator[tuple[slice, slice, int]]:
    """Parts of a call, each with the number of query rows to hold at once.

    Yields:
        Slice of sequences, slice of key heads, rows a block.
    """
    if elements is None:
        elements = CPU_ELEMENTS if call.query.device.type == "cpu" else DEVICE_ELEMENTS
    groups = call.heads // call.kv_heads
    wanted = min(call.n_queries, MOST_ROWS if call.query.device.type == "cpu" else 8 * MOST_ROWS)
    row = groups * call.n_keys
    rows = max(min(LEAST_ROWS, call.n_queries), min(wanted, elements // row))
    units = max(1, elements // (row * rows))
    heads = min(call.kv_heads, units)
    sequences = max(1, units // call.kv_heads)
    for start in range(0, call.batch, sequences):
        for head in range(0, call.kv_heads, heads):
            yield (
                slice(start, min(start + sequences, call.batch)),
                slice(head, min(head + heads, call.kv_heads)),
                max(rows, 1),
            )


def part_of(call: AttentionCall, batch: slice, kv_heads: slice, dtype: torch.dtype) -> AttentionCall:
    """Some sequences and key heads of a call, in the dtype of the statistics."""
    groups = call.heads // call.kv_heads
    heads = slice(kv_heads.start * groups, kv_heads.stop * groups)
    bias = call.bias
    if bias is not None:
        bias = bias if bias.shape[0] == 1 else bias[batch]
        bias = bias if bias.shape[1] == 1 else bias[:, heads]
    return replace(
        call,
        query=call.query[batch, heads].to(dtype),
        key=call.key[batch, kv_heads].to(dtype),
        value=None if call.value is None else call.value[batch, kv_heads].to(dtype),
        visibility=call.visibility.part(batch, heads),
        bias=bias,
        sink=None if call.sink is None else call.sink[heads],
    )


@dataclass(frozen=True)
class KeySide:
    """What every block of one part shares.

    Attributes:
        query: ``(batch, kv_head, group, query, dim)``, scale folded in.
        key: ``(batch * kv_head, key, dim)``.
        linear: ``(batch * kv_head, key, column)``: position from the first key, first-key mark, groups, values. One
            matrix product with the weights gives every linear moment and the output.
        value_start: Column at which the values begin.
        first: ``(batch,)`` position of the first visible key.
    """

    query: Tensor
    key: Tensor
    linear: Tensor
    value_start: int
    first: Tensor

    @classmethod
    def of(cls, part: AttentionCall, groups: Tensor | None) -> KeySide:
        """Build from one part of a call."""
        batch, kv_heads, device = part.batch, part.kv_heads, part.query.device
        first = part.visibility.first_key(batch, part.n_queries, part.n_keys, device)
        position = torch.arange(part.n_keys, device=device)[None, :] - first[:, None]
        columns = [position.to(part.key)[..., None], (position == 0).to(part.key)[..., None]]
        if groups is not None:
            columns.append(groups.to(part.key))
        shared = torch.cat(columns, dim=-1)[:, None].expand(batch, kv_heads, -1, -1)
        value_start = shared.shape[-1]
        if part.value is not None:
            shared = torch.cat([shared, part.value], dim=-1)
        query = (part.query * part.scale).view(batch, kv_heads, part.heads // kv_heads, part.n_queries, -1)
        key = part.key.reshape(batch * kv_heads, part.n_keys, -1)
        return cls(query, key, shared.reshape(batch * kv_heads, part.n_keys, -1), value_start, first)


@dataclass(frozen=True)
class _Overlap:
    values: Tensor
    begin: int
    end: int


@dataclass
class Tail:
    """The last rows of the block before: the partners of this block's first rows."""

    weights: Tensor | None = field(default=None)
    size: Tensor | None = None
    first: int = 0

    def overlaps(self, weights: Tensor, size: Tensor, begin: int, first: int, n_queries: int) -> dict[str, _Overlap]:
        """Overlap of rows ``i`` and ``i + lag`` for every pair that ends in this block; the tail becomes this block's.

        Args:
            weights: ``(batch, head, query, key)`` un-normalised weights of the block.
            size: ``(batch, head, query)`` their normaliser.
            begin: First query of the block.
            first: First key of the block.
            n_queries: Queries of the whole call.

        Returns:
            For ``lag_overlap`` and ``distant_overlap``, values at the earlier query of each pair.
        """
        found = {}
        for name, lag in zip(("lag_overlap", "distant_overlap"), LAGS, strict=True):
            pieces = []
            if self.weights is not None and self.size is not None:
                count = min(lag, weights.shape[2])
                low = max(first, self.first)
                width = self.weights.shape[3] - (low - self.first)
                old = self.weights[:, :, self.weights.shape[2] - lag :][:, :, :count, low - self.first :]
                new = weights[:, :, :count, low - first : low - first + width]
                scale = self.size[:, :, self.size.shape[2] - lag :][:, :, :count] * size[:, :, :count]
                pieces.append(torch.linalg.vecdot(old[..., : new.shape[3]], new) / scale)
            if weights.shape[2] > lag:
                within = torch.linalg.vecdot(weights[:, :, :-lag], weights[:, :, lag:])
                pieces.append(within / (size[:, :, :-lag] * size[:, :, lag:]))
            start = begin - lag if self.weights is not None else begin
            if pieces:
                values = torch.cat(pieces, dim=2)
                found[name] = _Overlap(values, start, start + values.shape[2])
            else:
                found[name] = _Overlap(torch.full_like(size, math.nan), begin, begin + size.shape[2])
        keep = max(LAGS)
        self.weights, self.size, self.first = weights[:, :, -keep:].clone(), size[:, :, -keep:], first
        return found
