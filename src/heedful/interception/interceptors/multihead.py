"""Interceptor for ``nn.MultiheadAttention`` and the torch transformer layers that use it.

Its inner attention runs where function modes do not see it. So its forward function runs once more from its own code,
with names of its own: the attention, and the two products where weights are wanted, are met there. Nothing of torch is
changed for others. The fused path that torch takes otherwise is off by itself under hooks; outputs are those of the
plain path, which differ from it by rounding, and in padded rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.interception.call_context import telling
from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.interceptors.sdpa import attend
from heedful.interception.rules import MASKED_BELOW, sdpa_rules
from heedful.interception.streams import same_stream

WAY = "nn.MultiheadAttention"

NOTE = "torch's fused path is off while captured; padded rows of its output may differ, others by rounding alone"


def multi_head(way: Interceptor, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run ``multi_head_attention_forward`` and capture the attention inside.

    Args:
        way: The interception.
        function: The function as torch defines it.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        What it returns: output and weights. The weights are always the learned ones.
    """
    if not isinstance(function, FunctionType):
        return function(*args, **kwargs)
    given = inspect.signature(function).bind(*args, **kwargs)
    given.apply_defaults()
    if torch.backends.mha.get_fastpath_enabled():
        way.notes.setdefault(WAY, NOTE)
    with_rules = partial(_with_rules, given.arguments, _is_self(way, given.arguments))
    names = {
        **function.__globals__,
        "has_torch_function": lambda _: False,
        "scaled_dot_product_attention": partial(attend, way, name=WAY, call_context=with_rules),
        "torch": _Products(way, with_rules, given.arguments["num_heads"], _dropout(given.arguments)),
    }
    body = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    body.__kwdefaults__ = function.__kwdefaults__
    with telling(with_rules):
        return body(*args, **kwargs)


def _dropout(arguments: dict[str, Any]) -> float:
    return float(arguments["dropout_p"]) if arguments["training"] else 0.0


def _is_self(way: Interceptor, arguments: dict[str, Any]) -> bool:
    """Whether queries and keys are positions of one sequence."""
    query, key = arguments["query"], arguments["key"]
    if query is key:
        return True
    with torch._C.DisableTorchFunction():
        return same_stream(way.lineage.of(query), way.lineage.of(key))


def _with_rules(arguments: dict[str, Any], is_self: bool, call: AttentionCall) -> AttentionCall:
    """Self-attention: query ``i`` is key ``i`` also where keys were appended, and padded positions see nothing."""
    if not is_self:
        return call if call.visibility.is_causal else replace(call, cross=True)
    visibility = call.visibility
    if call.n_keys != call.n_queries and visibility.offset is None:
        visibility = replace(visibility, offset=0)
    padded = arguments["key_padding_mask"]
    if padded is not None:
        hidden = padded if padded.dtype == torch.bool else padded <= MASKED_BELOW
        visibility = replace(visibility, queries=~hidden.view(call.batch, call.n_queries))
    return replace(call, visibility=visibility)


@dataclass
class _Products:
    """torch as ``multi_head_attention_forward`` sees it where it forms weights: its two batched products are met."""

    way: Interceptor
    with_rules: Callable[[AttentionCall], AttentionCall]
    heads: int
    dropout: float
    _factors: dict[str, Tensor | None] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def baddbmm(self, mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Masked logits."""
        self._factors = {"query": query, "key": key.transpose(1, 2), "mask": mask}
        return torch.baddbmm(mask, query, key)

    def bmm(self, left: Tensor, right: Tensor) -> Tensor:
        """Logits first, then the output."""
        if not self._factors:
            self._factors = {"query": left, "key": right.transpose(1, 2), "mask": None}
            return torch.bmm(left, right)
        return self._output(left, right)

    def _output(self, weights: Tensor, value: Tensor) -> Tensor:
        def run(other: Tensor | None) -> Tensor:
            with self.way.inside():
                return self._split(torch.bmm(weights, value if other is None else other.flatten(0, 1)))

        answer = self.way.meet(None, WAY, partial(self._describe, value), run, self.dropout)
        if answer is None:
            return torch.bmm(weights, value)
        return answer.to(value.dtype).flatten(0, 1)

    def _describe(self, value: Tensor) -> AttentionCall:
        query, key, mask = (self._factors[name] for name in ("query", "key", "mask"))
        if mask is not None:
            mask = mask[None] if mask.shape[0] == 1 else self._split(mask)
        q, k, v = (self._split(tensor) for tensor in (query, key, value) if tensor is not None)
        visibility, bias = sdpa_rules(mask, False, self.way.lineage)
        return self.with_rules(AttentionCall(query=q, key=k, value=v, scale=1.0, visibility=visibility, bias=bias))

    def _split(self, tensor: Tensor) -> Tensor:
        """``(batch, head, ...)`` from both in one."""
        return tensor.unflatten(0, (-1, self.heads))
