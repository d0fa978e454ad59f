"""Attention in plain torch operations, registered with transformers as ``eager``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Compute attention as an explicit softmax over visible keys, in float32 or better.

    Args:
        module: The attention module; ``training`` says whether weights are dropped.
        query: ``(batch, head, query, dim)``.
        key: ``(batch, kv_head, key, dim)``.
        value: ``(batch, kv_head, key, dim)``.
        attention_mask: Added to the logits, ``(batch, 1, query, key)``, or None.
        scaling: Factor of the products.
        dropout: Share of weights dropped in training.

    Returns:
        Output ``(batch, query, head, dim)`` and weights ``(batch, head, query, key)``.
    """
    shared = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(shared, dim=1) for part in (key, value))
    logits = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        logits = logits + attention_mask
    wide = torch.promote_types(query.dtype, torch.float32)
    weights = torch.softmax(logits, dim=-1, dtype=wide).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights
