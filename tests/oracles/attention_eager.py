"""The usual way in a chosen precision: the whole weight matrix by softmax, then each moment by its textbook line.

Independent of the engines in everything but the formulas. Its error against float64 is what rounding alone does in that
precision, so tolerances are derived from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def eager_moments(
    call: dict[str, Any],
    seen: Tensor,
    start: int | None,
    first: Tensor,
    dtype: torch.dtype,
    groups: dict[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Moments of one call with every array in ``dtype``.

    Args:
        call: Query, key, value, scale, bias, softcap and sink in float64.
        seen: ``(batch, head, query, key)`` bool.
        start: Key position of query 0, or None.
        first: ``(batch, query)`` first key that each row's sequence or document shows.
        dtype: Precision of every step.
        groups: Membership of keys by name, ``(batch, query, key)`` or ``(batch, query, key, group)``.
    """
    weight, normaliser = _softmax(call, seen, dtype)
    filled = weight.nan_to_num()
    position = torch.arange(seen.shape[-1])
    found = {
        "logsumexp": normaliser,
        "total": weight.sum(-1),
        "entropy": -torch.special.xlogy(weight, weight).sum(-1),
        "max_weight": weight.amax(-1),
        "collision": weight.square().sum(-1),
        "mean_position": (weight * (position - first[..., None]).to(dtype)[:, None]).sum(-1),
        "first_mass": (weight * (position == first[..., None])[:, None]).sum(-1),
        "received": filled.sum(-2),
    }
    for name, lag in (("lag_overlap", 1), ("distant_overlap", 10)):
        found[name] = (weight[:, :, :-lag] * weight[:, :, lag:]).sum(-1)
    if start is not None:
        away = torch.arange(seen.shape[2])[:, None] + start - position
        found["self_mass"] = (weight * (away == 0)).sum(-1)
        found["previous_mass"] = (weight * (away == 1)).sum(-1)
        found["local_mass"] = (weight * (away.abs() <= 5)).sum(-1)
        edges = torch.tensor([0] + [2**power for power in range(17)])
        index = torch.bucketize(away.abs(), edges, right=True) - 1
        bins = torch.zeros(*weight.shape[:3], len(edges), dtype=dtype)
        found["distance_mass"] = bins.scatter_add(-1, index.expand(weight.shape), weight)
        found["log_contrast"] = _contrast(weight, seen, away, (position == first[..., None])[:, None])
    if call["value"] is not None:
        found["output"] = filled @ _repeated(call["value"], seen.shape[1]).to(dtype)
    for name, member in (groups or {}).items():
        line = "bhij,bijg->bhig" if member.ndim == 4 else "bhij,bij->bhi"
        found[f"{name}_mass"] = torch.einsum(line, weight, torch.as_tensor(member).to(dtype))
    return found


def _softmax(call: dict[str, Any], seen: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    query, key = (torch.as_tensor(call[name]).to(dtype) for name in ("query", "key"))
    logits = query @ _repeated(key, query.shape[1]).transpose(-1, -2) * call["scale"]
    if call["softcap"] is not None:
        logits = torch.tanh(logits / call["softcap"]) * call["softcap"]
    if call["bias"] is not None:
        logits = logits + torch.as_tensor(call["bias"]).to(dtype)
    logits = logits.masked_fill(~seen, -torch.inf)
    if call["sink"] is not None:
        sink = torch.as_tensor(call["sink"]).to(dtype)[None, :, None, None].expand(*logits.shape[:3], 1)
        logits = torch.cat([logits, sink], dim=-1)
    weight, normaliser = torch.softmax(logits, dim=-1), torch.logsumexp(logits, dim=-1)
    empty = ~seen.any(-1)
    weight = weight[..., : seen.shape[-1]].masked_fill(empty[..., None], torch.nan)
    return weight, normaliser.masked_fill(empty, torch.nan)


def _repeated(tensor: Any, heads: int) -> Tensor:
    tensor = torch.as_tensor(tensor)
    return tensor.repeat_interleave(heads // tensor.shape[1], dim=1)


def _contrast(weight: Tensor, seen: Tensor, away: Tensor, is_first: Tensor) -> Tensor:
    logs = weight.log().clamp_min(-30)
    counted = seen & ~is_first & (away != 0)
    sides = [counted & (away.abs() <= 5), counted & (away.abs() > 5)]
    near, far = (torch.where(side, logs, 0).sum(-1) / side.sum(-1) for side in sides)
    return near - far
