"""Convert a mask, in any form that models use, to visibility rules and a finite bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention.visibility import Visibility, bidirectional, causal, masked, padding
from heedful.errors import CaptureError
from heedful.interception.hidden import hidden_by
from heedful.interception.lineage import Lineage, Node

MASKED_BELOW = -1e4
"""Entries of a float padding mask at or below this hide."""


def split_mask(mask: Tensor, lineage: Lineage | None = None) -> tuple[Tensor, Tensor | None]:
    """Split a mask into a bool mask (True = visible) and the finite bias of an additive mask.

    Args:
        mask: Bool or float, broadcastable to ``(batch, head, query, key)``.
        lineage: What is known of tensors, by which the terms of a sum are told apart.

    Raises:
        HeedfulError: It is not known which keys an additive mask hides.
    """
    if mask.dtype == torch.bool:
        return mask, None
    hidden = hidden_by(lineage, mask)
    if hidden is None:
        return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=mask.device), mask if bool(mask.any()) else None
    bias = mask.masked_fill(hidden, 0.0)
    return ~hidden, bias if bool(bias.any()) else None


def table_rules(
    name: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Any,
    keywords: dict[str, Any],
    lineage: Lineage | None = None,
) -> tuple[Visibility, Tensor | None]:
    """Return visibility and bias of one call of transformers' attention-function table.

    Args:
        name: Entry of the table that is active: ``eager``, ``sdpa``, ``flash_attention_2`` ...
        module: The attention module.
        query: ``(batch, head, query, dim)``.
        key: ``(batch, kv_head, key, dim)``.
        mask: What the model passed as ``attention_mask``.
        keywords: The remaining keyword arguments of the call.
        lineage: What is known of tensors.

    Raises:
        CaptureError: The mask has a form that heedful does not understand.
    """
    n_queries, n_keys = query.shape[2], key.shape[2]
    is_causal = keywords.get("is_causal")
    is_causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    bias = keywords.get("position_bias")
    if "flash" in name:
        window = keywords.get("sliding_window") if is_causal else None
        visibility = causal(window=window) if is_causal and n_queries > 1 else _aligned(is_causal, n_queries, n_keys)
        if isinstance(mask, Tensor) and mask.dim() == 2:
            visibility = visibility & padding(mask[:, -n_keys:], queries=n_queries == n_keys)
        elif mask is not None:
            raise CaptureError(name, f"a mask of type {type(mask).__name__} came where a 2-D padding mask was expected")
        return visibility, bias
    if mask is None:
        # Kernels other than eager are told "causal" by the absence of a mask; the eager one always gets one.
        if name != "eager" and is_causal and n_queries > 1:
            return causal(offset=0), bias
        return _aligned(is_causal and n_queries == 1, n_queries, n_keys), bias
    if not isinstance(mask, Tensor) or mask.dim() not in (2, 3, 4):
        raise CaptureError(name, f"an attention mask of type {type(mask).__name__} is not understood")
    if mask.shape[-1] > n_keys:
        if lineage is not None and (node := lineage.of(mask)) is not None and mask.is_floating_point():
            mask, whole = mask[..., :n_keys], node
            lineage.put(mask, Node("__getitem__", (whole, (..., slice(None, n_keys))), {}, (whole,), tuple(mask.shape)))
        else:
            mask = mask[..., :n_keys]
    if mask.dim() == 2 and mask.shape == (query.shape[0], n_keys):
        return _aligned(False, n_queries, n_keys) & padding(mask, queries=False), bias
    seen, finite = split_mask(mask, lineage)
    if finite is not None:
        bias = finite if bias is None else bias + finite
    visibility = bidirectional() if seen.numel() == 1 and bool(seen) else masked(seen)
    return _placed(visibility, is_causal, n_queries, n_keys), bias


def sdpa_rules(
    mask: Tensor | None,
    is_causal: bool,
    lineage: Lineage | None = None,
    standard: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> tuple[Visibility, Tensor | None]:
    """Return visibility and bias of a ``scaled_dot_product_attention`` call (causal means aligned at the first key).

    Args:
        mask: Bool or additive mask, or None.
        is_causal: Whether the causal rule holds.
        lineage: What is known of tensors.
        standard: Brings a tensor of the mask's layout to ``(batch, head, query, key)``.
    """
    visibility = causal(offset=0) if is_causal else bidirectional()
    if mask is None:
        return visibility, None
    seen, bias = split_mask(mask, lineage)
    bias = None if bias is None else standard(bias)
    if seen.numel() == 1 and bool(seen):
        return visibility, bias
    return visibility & masked(standard(seen)), bias


def _aligned(last_row: bool, n_queries: int, n_keys: int) -> Visibility:
    """Every key visible; one query of a causal module is the last position."""
    return Visibility(offset=n_keys - n_queries) if last_row and n_queries == 1 else bidirectional()


def _placed(visibility: Visibility, is_causal: bool, n_queries: int, n_keys: int) -> Visibility:
    """The position of query 0 for a causal module with more keys than queries.

    A query's last visible key is its own, unless it or the keys near it are padding: so the query that sees farthest
    beyond its place tells where all of them stand.
    """
    mask = visibility.mask
    if mask is None and is_causal and n_queries == 1:
        return Visibility(offset=n_keys - n_queries)
    if not is_causal or n_queries == n_keys or mask is None or mask.shape[2] != n_queries or mask.shape[3] != n_keys:
        return visibility
    seen = mask.any(0).any(0)
    rows = seen.any(-1)
    if not bool(rows.any()):
        return visibility
    last = n_keys - 1 - seen.flip(-1).int().argmax(-1)
    ahead = (last - torch.arange(n_queries, device=last.device))[rows]
    return Visibility(mask=mask, offset=int(ahead.max()))
