"""Head statistics from a returned weight matrix, each by its textbook line; imports nothing of heedful."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_KEYS = 8
"""Rows that see fewer keys are not averaged."""


def head_statistics(weights: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
    """Mean of every statistic over the rows of each sequence that see at least eight keys.

    Args:
        weights: ``(batch, head, query, key)`` after softmax, exact zeros where masked.
        real: ``(batch, position)`` bool, False at padding.

    Returns:
        Statistic to ``(head,)``: the mean over sequences of the mean over rows.
    """
    weights = weights.double()
    seen = weights > 0
    if real is not None:
        seen = seen & real[:, None, None, :] & real[:, None, -weights.shape[2] :, None]
    count = seen.sum(-1)
    own = torch.arange(weights.shape[2])[:, None] + weights.shape[3] - weights.shape[2]
    away = own - torch.arange(weights.shape[3])
    shown = seen.any(2).any(1)
    first = shown.long().argmax(1)
    entropy = -torch.special.xlogy(weights, weights).sum(-1)
    keys_alone = weights / weights.sum(-1, keepdim=True)  # without what a learned sink takes
    spread = -torch.special.xlogy(keys_alone, keys_alone).sum(-1)
    own_mass = (weights * (away == 0)).sum(-1)
    others = weights.masked_fill(away == 0, 0)
    n = weights.shape[3]
    rows = {
        "row_entropy": entropy,
        "concentration": (count.double().log() - spread).clamp_min(0),
        "effective_keys": spread.exp(),
        "visible_share": (spread.exp() / count).clamp_max(1),
        "max_weight": weights.amax(-1),
        "self_mass": own_mass,
        "previous_mass": torch.where(((away == 1) & seen).any(-1), (weights * (away == 1)).sum(-1), torch.nan),
        "local_mass": (weights * (away.abs() <= 5)).sum(-1),
        "sink_mass": torch.gather(weights, -1, first[:, None, None, None].expand(*weights.shape[:3], 1))[..., 0],
        "row_std_seed": ((others**2).sum(-1) / (n - 1) - (others.sum(-1) / (n - 1)) ** 2).clamp_min(0).sqrt(),
    }
    judged = count >= LEAST_KEYS
    return {name: value.masked_fill(~judged, torch.nan).nanmean(-1).nanmean(0) for name, value in rows.items()}
