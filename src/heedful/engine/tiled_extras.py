"""Moments of ``tiled`` that cost a pass of their own, computed only where asked for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.core.axes import DISTANCE_EDGES, LOCAL_DISTANCE
from heedful.core.call import AttentionCall
from heedful.engine.blocks import KeySide
from heedful.engine.dense import LOG_FLOOR


def distance_mass(part: AttentionCall, weights: Tensor, size: Tensor, begin: int, first: int) -> Tensor:
    """Mass by distance from the query, from running sums read at the bins' edges.

    Returns:
        ``(batch, head, query, bin)``; NaN where queries and keys share no positions.
    """
    n_rows, n_keys = weights.shape[2], weights.shape[3]
    if part.offset is None:
        return torch.full((*weights.shape[:3], len(DISTANCE_EDGES)), math.nan, dtype=weights.dtype, device=weights.device)
    running = torch.nn.functional.pad(weights.cumsum(-1), (1, 0))
    centre = torch.arange(begin, begin + n_rows, device=weights.device) + part.offset - first
    edges = torch.tensor([*DISTANCE_EDGES, n_keys + part.n_queries + part.n_keys], device=weights.device)

    def up_to(position: Tensor) -> Tensor:
        index = position.clamp(0, n_keys).expand(*weights.shape[:2], -1, -1)
        return torch.gather(running, -1, index)

    before = up_to(centre[:, None] - edges[None, :] + 1)
    mass = before[..., :-1] - before[..., 1:]
    after = up_to(centre[:, None] + edges[None, :])
    right = after[..., 1:] - after[..., :-1]
    right[..., 0] = 0
    mass = mass + right if not part.visibility.is_causal else mass
    return mass / size[..., None]


def log_contrast(
    part: AttentionCall, side: KeySide, logs: Tensor, begin: int, end: int, first: int, last: int
) -> Tensor:
    """Mean log weight near the query minus that further away, own and first key left out.

    Args:
        logs: ``(batch, head, query, key)`` log weights of the block; changed in place.

    Returns:
        ``(batch, head, query)``; NaN where either side is empty.
    """
    if part.offset is None:
        return torch.full(logs.shape[:3], math.nan, dtype=logs.dtype, device=logs.device)
    seen = part.visibility.block(begin, end, first, last, part.n_queries, part.n_keys, logs.device)
    key = torch.arange(first, last, device=logs.device)
    distance = torch.arange(begin, end, device=logs.device)[:, None] + part.offset - key[None, :]
    counted = seen & (key[None, :] != side.first[:, None])[:, None, None, :] & (distance != 0)
    near = counted & (distance.abs() <= LOCAL_DISTANCE)
    logs.clamp_(min=LOG_FLOOR)
    all_sum, near_sum = ((logs * side_.to(logs.dtype)).sum(-1) for side_ in (counted, near))
    n_near = near.sum(-1)
    n_far = counted.sum(-1) - n_near
    contrast = near_sum / n_near - (all_sum - near_sum) / n_far
    return contrast.masked_fill((n_near == 0) | (n_far == 0), math.nan)
