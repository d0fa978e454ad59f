"""The way in through ``scaled_dot_product_attention`` of plain modules."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from heedful.capture import hint
from heedful.capture.hint import Told
from heedful.capture.rules import sdpa_rules
from heedful.capture.way import Way
from heedful.core.call import AttentionCall

WAY = "scaled_dot_product_attention"


def attend(
    way: Way,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    name: str = WAY,
    told: Told | None = None,
) -> Tensor:
    """Meet one ``scaled_dot_product_attention``; arguments are its own.

    Args:
        way: The interception.
        query: ``(..., query, dim)``, as are key and value, of any number of axes from three.
        key: The keys.
        value: The values.
        attn_mask: Bool or additive mask, or None.
        dropout_p: Probability with which weights are dropped.
        is_causal: Whether the causal rule from the first key holds.
        scale: Factor of the products, or None for the usual one.
        enable_gqa: Whether there may be fewer key heads.
        name: How the call was met.
        told: What the caller knows of the call beyond its arguments; None: what an interception inside has told.

    Returns:
        The output, of the model's kernel or in its place.
    """

    def kernel(other: Tensor) -> Tensor:
        with way.inside():
            return F.scaled_dot_product_attention(
                query, key, other, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )

    leading = query.shape[:-3]
    known = told or hint.told()

    def run(other: Tensor | None) -> Tensor:
        if other is None:
            return _four(kernel(value))
        return _four(kernel(other.reshape(*value.shape[:-1], other.shape[-1])))

    def describe() -> AttentionCall:
        q, k, v = (_four(tensor) for tensor in (query, key, value))
        mask = attn_mask
        if mask is not None and mask.dim() > 4:
            mask = mask.expand(*leading, *mask.shape[-3:]).flatten(0, len(leading) - 1)
        visibility, bias = sdpa_rules(q, k, mask, is_causal)
        return known(
            AttentionCall(
                query=q,
                key=k,
                value=v,
                scale=query.shape[-1] ** -0.5 if scale is None else float(scale),
                visibility=visibility,
                bias=bias,
            )
        )

    answer = way.meet(None, name, describe, run, dropout_p)
    if answer is None:
        return kernel(value)
    return answer.to(query.dtype).reshape(*query.shape[:-1], answer.shape[-1])


def _four(tensor: Tensor) -> Tensor:
    """``(batch, head, position, dim)`` from 3 (one head) or more dimensions."""
    if tensor.dim() == 3:
        return tensor[:, None]
    return tensor if tensor.dim() == 4 else tensor.flatten(0, tensor.dim() - 4)
