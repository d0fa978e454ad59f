"""Position tensors that depend only on sequence lengths, cached for calls of equal lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.attention.axes import LAGS, LOCAL_DISTANCE
from heedful.attention.call import AttentionCall

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
