"""Prepare a call for the fused kernels, and split it into spans, one kernel call each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.blocks import near_keys
from heedful.attention.engines.groups import GroupLabels
from heedful.attention.engines.kernels import KernelCall
from heedful.attention.engines.moments import Extras

MASK_ELEMENTS = 2**21
"""Elements of a float mask held at once; rules that the kernels know need none."""

WIDTH = 8
"""Vectors are filled with zeros to a multiple of this, which some kernels ask for."""


@dataclass(frozen=True)
class KernelInputs:
    """A call in the kernels' layout: one key head per query head, float32, keys centred on their mean.

    Attributes:
        call: The call.
        query: ``(batch, head, query, width)``, times the scale: kernels mask before they scale, and -inf times a
            negative scale is no mask.
        key: ``(batch, head, key, width)``.
        value: ``(batch, head, key, value_dim)`` or None.
        columns: ``(batch, head, key, 1 + column)``: key position, then membership of groups and segments.
        shift: ``(batch, head, query)`` what the logits lost with the mean key.
        near: ``(batch, query, column)`` keys whose weight is kept, as ``blocks.near_keys``.
        labels: Groups laid out for the call, or None.
    """

    call: AttentionCall
    query: Tensor
    key: Tensor
    value: Tensor | None
    columns: Tensor
    shift: Tensor
    near: Tensor
    labels: GroupLabels | None

    @classmethod
    def of(cls, call: AttentionCall, extras: Extras) -> KernelInputs:
        """Convert a call to the kernels' layout."""
        repeated, device = call.heads // call.kv_heads, call.query.device
        query, key = call.query.float() * call.scale, call.key.float()
        centre = key.nan_to_num(0.0, 0.0, 0.0).mean(2, keepdim=True)
        columns = torch.arange(call.n_keys, dtype=torch.float32, device=device).expand(call.batch, -1)[..., None]
        labels = GroupLabels.of(call, extras.groups)
        if labels is not None and labels.columns is not None:
            columns = torch.cat([columns, labels.columns], dim=-1)
        first = call.visibility.own_first_key(call.batch, call.n_queries, call.n_keys, device)
        by_head = centre.repeat_interleave(repeated, 1)
        return cls(
            call=call,
            query=widened(query, query.shape[-1]),
            key=widened((key - centre).repeat_interleave(repeated, 1), key.shape[-1]),
            value=None if call.value is None else call.value.float().repeat_interleave(repeated, 1),
            columns=columns[:, None].expand(-1, call.heads, -1, -1),
            shift=(query * by_head).sum(-1),
            near=near_keys(call, first),
            labels=labels,
        )


@dataclass(frozen=True)
class Span:
    """Query range, key range and mask of one kernel call."""

    begin: int
    end: int
    first: int
    last: int
    is_causal: bool = False
    seen: Tensor | None = None

    def kernel_call(self, inputs: KernelInputs, query: Tensor) -> KernelCall:
        """Return the kernel inputs for given queries; rows without visible keys see all keys and are discarded
        later.
        """
        mask = None
        if self.seen is not None:
            hidden = ~self.seen & self.seen.any(-1, keepdim=True)
            mask = torch.zeros(hidden.shape, device=query.device).masked_fill_(hidden, -math.inf)
        return KernelCall(query, inputs.key[:, :, self.first : self.last], self.is_causal, mask)


def spans(call: AttentionCall, lag: int = 0) -> Iterator[Span]:
    """Yield spans of queries ``i``, each with the range and mask of the keys that queries ``i`` and ``i + lag`` both
    see.
    """
    rules, n_queries, n_keys = call.visibility, call.n_queries, call.n_keys
    pairs = n_queries - lag
    if pairs <= 0:
        return
    if rules.hides_nothing():
        yield Span(0, pairs, 0, n_keys)
        return
    if rules.only_causal() and rules.start(n_queries, n_keys) == 0:
        yield Span(0, pairs, 0, min(pairs, n_keys), is_causal=True)
        return
    shown = rules.block(0, 1, 0, 1, n_queries, n_keys, call.query.device)
    rows = max(1, MASK_ELEMENTS // (shown.shape[0] * shown.shape[1] * n_keys))
    for begin in range(0, pairs, rows):
        end = min(begin + rows, pairs)
        ranges = [rules.key_range(begin + more, end + more, n_queries, n_keys) for more in (0, lag)]
        first = max(low for low, _ in ranges)
        last = max(first, min(high for _, high in ranges))
        seen = [
            rules.block(begin + more, end + more, first, last, n_queries, n_keys, call.query.device)
            for more in {0, lag}
        ]
        yield Span(begin, end, first, last, seen=seen[0] & seen[-1])


def widened(tensor: Tensor, width: int) -> Tensor:
    """Pad the last axis with zeros to ``width``, rounded up to a multiple of ``WIDTH``."""
    missing = -(-width // WIDTH) * WIDTH - tensor.shape[-1]
    return tensor if missing <= 0 else torch.nn.functional.pad(tensor, (0, missing))
