"""Moments of ``tiled`` that cost a pass of their own, computed only where asked for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.core.axes import DISTANCE_EDGES, LOCAL_DISTANCE
from heedful.core.call import AttentionCall
from heedful.engine.blocks import Part
from heedful.engine.dense import LOG_FLOOR


def group_visible(part: Part, begin: int, end: int) -> Tensor:
    """Number of visible keys of each group.

    Args:
        part: The part of the call, with groups.
        begin: First query of the block.
        end: End of its queries.

    Returns:
        ``(batch, head, query, group)``.

    Raises:
        ValueError: The part has no groups.
    """
    if part.groups is None:
        raise ValueError("group_visible: the part has no groups")
    call = part.call
    first, last = call.visibility.key_range(begin, end, call.n_queries, call.n_keys)
    seen = call.visibility.block(begin, end, first, last, call.n_queries, call.n_keys, part.groups.device)
    counts = seen.to(part.groups) @ part.groups[:, None, first:last]
    return counts.expand(call.batch, call.heads, *counts.shape[2:])


def distance_mass(call: AttentionCall, weights: Tensor, known: Tensor, begin: int, first: int) -> Tensor:
    """Mass by distance from the query, from running sums read at the bins' edges.

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


def log_contrast(part: Part, logs: Tensor, begin: int, end: int, first: int, last: int) -> Tensor:
    """Mean log weight near the query minus that further away, own and first key left out.

    Args:
        part: The part of the call.
        logs: ``(batch, head, query, key)`` log weights of the block; changed in place.
        begin: First query of the block.
        end: End of its queries.
        first: First key of the block.
        last: End of its keys.

    Returns:
        ``(batch, head, query)``; NaN where either side is empty.
    """
    call = part.call
    if call.offset is None:
        return torch.full(logs.shape[:3], math.nan, dtype=logs.dtype, device=logs.device)
    seen = call.visibility.block(begin, end, first, last, call.n_queries, call.n_keys, logs.device)
    key = torch.arange(first, last, device=logs.device)
    distance = torch.arange(begin, end, device=logs.device)[:, None] + call.offset - key
    other = (key != part.first[:, begin:end, None])[:, None]
    counted = seen & other & (distance != 0)
    near = counted & (distance.abs() <= LOCAL_DISTANCE)
    far = counted & (distance.abs() > LOCAL_DISTANCE)
    logs.clamp_(min=LOG_FLOOR)
    # A sum over each side of its own: the far sum as a difference would lose digits. Empty sides give 0 / 0.
    near_mean, far_mean = ((logs * side).sum(-1) / side.sum(-1) for side in (near, far))
    return near_mean - far_mean
