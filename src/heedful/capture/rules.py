"""From a mask in any of the forms that models use to visibility and a finite bias."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from heedful.core.errors import CaptureError
from heedful.core.visibility import Visibility, bidirectional, causal, masked, padding

MASKED_BELOW = -1e4
"""Additive terms at or below this hide a key: models write -inf, the dtype's minimum, -1e9 or -10000, and the
exponential of each is exactly 0 in float32. Learned and linear biases stay far above it."""


def split_mask(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """A bool mask (True = visible) and the finite bias that remains of an additive one.

    Args:
        mask: Bool or float, broadcastable to ``(batch, head, query, key)``.
    """
    if mask.dtype == torch.bool:
        return mask, None
    seen = mask > MASKED_BELOW
    bias = torch.where(seen, mask, torch.zeros_like(mask))
    return seen, bias if bool(bias.any()) else None


def table_rules(
    name: str, module: nn.Module, query: Tensor, key: Tensor, mask: Any, keywords: dict[str, Any]
) -> tuple[Visibility, Tensor | None]:
    """Visibility and bias of one call through transformers' attention-function table.

    Args:
        name: Entry of the table that is active: ``eager``, ``sdpa``, ``flash_attention_2`` ...
        module: The attention module.
        query: ``(batch, head, query, dim)``.
        key: ``(batch, kv_head, key, dim)``.
        mask: What the model passed as ``attention_mask``.
        keywords: The remaining keyword arguments of the call.

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
    mask = mask[..., :n_keys]
    if mask.dim() == 2 and mask.shape == (query.shape[0], n_keys):
        return _aligned(False, n_queries, n_keys) & padding(mask, queries=False), bias
    seen, finite = split_mask(mask)
    if finite is not None:
        bias = finite if bias is None else bias + finite
    return _placed(masked(seen), is_causal, n_queries, n_keys), bias


def sdpa_rules(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool) -> tuple[Visibility, Tensor | None]:
    """Visibility and bias of one ``scaled_dot_product_attention`` call; its causal rule starts at the first key."""
    visibility = causal(offset=0) if is_causal else bidirectional()
    if mask is None:
        return visibility, None
    seen, bias = split_mask(mask)
    return visibility & masked(seen), bias


def _aligned(last_row: bool, n_queries: int, n_keys: int) -> Visibility:
    """Every key visible; one query of a causal module is the last position."""
    return Visibility(offset=n_keys - n_queries) if last_row and n_queries == 1 else bidirectional()


def _placed(visibility: Visibility, is_causal: bool, n_queries: int, n_keys: int) -> Visibility:
    """The position of query 0 for a causal module with more keys than queries: its last visible key is its own."""
    if not is_causal or n_queries == n_keys or visibility.mask is None:
        return visibility
    last_row = visibility.mask[:, :, -1].any(0).any(0).nonzero()
    if not len(last_row):
        return visibility
    return Visibility(mask=visibility.mask, offset=int(last_row[-1]) - n_queries + 1)
