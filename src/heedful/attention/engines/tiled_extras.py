"""Optional moments of the ``tiled`` engine that need their own pass."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from heedful.attention.axes import DISTANCE_EDGES, LOCAL_DISTANCE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import LOG_FLOOR
from heedful.attention.engines.groups import GroupLabels

Found = Iterator[tuple[str, Tensor]]
"""Moments of a block by name."""


def group_moments(
    labels: GroupLabels | None, weights: Tensor, known: Tensor, seen: Tensor, span: tuple[int, int], first: int
) -> Found:
    """Yield (name, values) pairs: the mass and the number of visible keys of token groups, of segments, of keys with
    the query's token, and of induction keys.

    Args:
        labels: Groups of the sequences of the weights, or None.
        weights: ``(batch, head, query, key)`` un-normalised weights of the block.
        known: ``(batch, head, query)`` inverse of their normaliser, NaN at rows that see nothing.
        seen: Bool, broadcastable to ``(batch, head, query, key)``.
        span: First query of the block and end of its queries.
        first: First key of the block.

    Yields:
        Name and ``(batch, head, query, ...)`` values.
    """
    if labels is None:
        return
    batch, heads, rows, keys = weights.shape
    if labels.columns is not None:
        columns = labels.columns[:, first : first + keys]
        mass = torch.bmm(weights.view(batch, heads * rows, keys), columns).view(batch, heads, rows, -1)
        yield from labels.named(mass * known[..., None], seen.to(columns) @ columns[:, None], *span)
    for match in labels.matches:
        pairs = match.block(*span, first, first + keys)
        mass = torch.einsum("bhqk,bqk->bhq", weights, pairs.to(weights))
        yield from match.named(mass * known, (seen & pairs[:, None]).sum(-1), *span)


def distance_mass(call: AttentionCall, weights: Tensor, known: Tensor, begin: int, first: int) -> Tensor:
    """Return each query's attention mass by distance to the key, ``(batch, head, query, bin)``, computed from
    cumulative sums of weights.

    Args:
        call: The part's call.
        weights: ``(batch, head, query, key)`` un-normalised weights of the block.
        known: ``(batch, head, query)`` inverse of their normaliser, NaN at rows that see nothing.
        begin: First query of the block.
        first: First key of the block.

    Returns:
        ``(batch, head, query, bin)``; NaN where queries and keys share no positions.
    """
    n_rows, n_keys = weights.shape[2], weights.shape[3]
    bins = len(DISTANCE_EDGES)
    if call.offset is None:
        return torch.full((*weights.shape[:3], bins), math.nan, dtype=weights.dtype, device=weights.device)
    running = torch.nn.functional.pad(weights.cumsum(-1), (1, 0))
    centre = torch.arange(begin, begin + n_rows, device=weights.device)[:, None] + call.offset - first
    beyond = DISTANCE_EDGES[-1] + call.n_queries + call.n_keys + abs(call.offset)
    edges = torch.tensor([*DISTANCE_EDGES, beyond], device=weights.device)

    def up_to(position: Tensor) -> Tensor:
        return torch.gather(running, -1, position.clamp(0, n_keys).expand(*weights.shape[:2], -1, -1))

    before = up_to(centre - edges + 1)
    mass = before[..., :-1] - before[..., 1:]
    if not call.visibility.is_causal:
        after = up_to(centre + edges)
        mass[..., 1:] += (after[..., 1:] - after[..., :-1])[..., 1:]
    return mass.clamp_(min=0) * known[..., None]


def log_contrast(
    call: AttentionCall, logs: Tensor, own_first: Tensor, begin: int, end: int, first: int, last: int
) -> Tensor:
    """Return each query's mean log weight on keys 1-5 positions away minus that on farther keys, ``(batch, head,
    query)``; the first key is left out.

    Args:
        call: The part's call.
        logs: ``(batch, head, query, key)`` log weights of the block; changed in place.
        own_first: ``(batch, query)`` first key of each row of the call.
        begin: First query of the block.
        end: End of its queries.
        first: First key of the block.
        last: End of its keys.

    Returns:
        ``(batch, head, query)``; NaN where either side is empty.
    """
    if call.offset is None:
        return torch.full(logs.shape[:3], math.nan, dtype=logs.dtype, device=logs.device)
    seen = call.visibility.block(begin, end, first, last, call.n_queries, call.n_keys, logs.device)
    key = torch.arange(first, last, device=logs.device)
    distance = torch.arange(begin, end, device=logs.device)[:, None] + call.offset - key
    other = (key != own_first[:, begin:end, None])[:, None]
    counted = seen & other & (distance != 0)
    near = counted & (distance.abs() <= LOCAL_DISTANCE)
    far = counted & (distance.abs() > LOCAL_DISTANCE)
    logs.clamp_(min=LOG_FLOOR)
    # A sum over each side of its own: the far sum as a difference would lose digits. Empty sides give 0 / 0.
    near_mean, far_mean = ((logs * side).sum(-1) / side.sum(-1) for side in (near, far))
    return near_mean - far_mean
