"""The way in through ``scaled_dot_product_attention`` of plain modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from heedful.capture.rules import sdpa_rules
from heedful.capture.way import Way
from heedful.core.call import AttentionCall


class SdpaWatcher(TorchFunctionMode):
    """Sees every ``scaled_dot_product_attention`` of this thread that the attention table has not met already."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way = way

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer one call, or let it pass."""
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention or not self.way.concerns(None):
            return func(*args, **kwargs)
        return self._attend(*args, **kwargs)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        def kernel(other: Tensor) -> Tensor:
            with self.way.inside():
                return F.scaled_dot_product_attention(
                    query, key, other, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
                )

        leading = query.shape[:-3]

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
            return AttentionCall(
                query=q,
                key=k,
                value=v,
                scale=query.shape[-1] ** -0.5 if scale is None else float(scale),
                visibility=visibility,
                bias=bias,
            )

        answer = self.way.meet(None, "scaled_dot_product_attention", describe, run, dropout_p)
        if answer is None:
            return kernel(value)
        return answer.to(query.dtype).reshape(*query.shape[:-1], answer.shape[-1])


def _four(tensor: Tensor) -> Tensor:
    """``(batch, head, position, dim)`` from 3 (one head) or more dimensions."""
    if tensor.dim() == 3:
        return tensor[:, None]
    return tensor if tensor.dim() == 4 else tensor.flatten(0, tensor.dim() - 4)
