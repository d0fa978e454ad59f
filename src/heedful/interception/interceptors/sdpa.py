"""Interceptor for direct calls of ``scaled_dot_product_attention``, outside transformers' table of attention
functions.

Interceptor for ``nn.MultiheadAttention`` and the torch transformer layers that use it.

Its inner attention runs where function modes do not see it. So its forward function runs once more from its own code,
with names of its own: the attention, and the two products where weights are wanted, are met there. Nothing of torch is
changed for others. The fused path that torch takes otherwise is off by itself under hooks; outputs are those of the
plain path, which differ from it by rounding, and in padded rows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.errors import HeedfulError
from heedful.interception.arrangement import BATCH, HEAD, Arrangement, arranged
from heedful.interception.form_rules import FEATURE, UNKNOWN, Axes, kinds
from heedful.interception.interceptors import interceptor as hint
from heedful.interception.interceptors.interceptor import CallContext, Interceptor, telling
from heedful.interception.layout import axes_of
from heedful.interception.lineage import Node
from heedful.interception.rules import MASKED_BELOW, sdpa_rules
from heedful.interception.streams import same_stream

WAY = "scaled_dot_product_attention"


def attend(
    way: Interceptor,
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
    call_context: CallContext | None = None,
) -> Tensor:
    """Capture one call of ``scaled_dot_product_attention``; takes the same arguments.

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
        call_context: What the caller knows of the call beyond its arguments; None: what an interception inside knows.

    Returns:
        The output, of the model's kernel or in its place.
    """

    def kernel(other: Tensor) -> Tensor:
        with way.inside():
            return F.scaled_dot_product_attention(
                query, key, other, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )

    known = call_context or hint.call_context()
    nodes = [way.lineage.of(tensor) for tensor in (query, key, value)]
    given: list[Arrangement] = []

    def run(other: Tensor | None) -> Tensor:
        if other is None:
            output = kernel(value)
        else:
            shape = value.shape[:-2]
            output = kernel(_grouped(given[0], shape).own(other, shape).to(value.dtype))
        return given[0].standard(output, whole=True)

    def describe() -> AttentionCall:
        arrangement = _arranged(way, (query, key, value), nodes, enable_gqa, named=name == WAY)
        given.append(arrangement)
        q = arrangement.standard(query, whole=True)
        k, v = (_whole_batch(_grouped(arrangement, t.shape[:-2]).standard(t), len(q)) for t in (key, value))
        if k.shape[1] != v.shape[1]:
            k, v = (t.expand(-1, max(k.shape[1], v.shape[1]), -1, -1) for t in (k, v))
        visibility, bias = sdpa_rules(attn_mask, is_causal, way.lineage, arrangement.standard)
        factor = query.shape[-1] ** -0.5 if scale is None else float(scale)
        return known(AttentionCall(query=q, key=k, value=v, scale=factor, visibility=visibility, bias=bias))

    answer = way.meet(None, name, describe, run, dropout_p, streams=nodes[:2])
    if answer is None:
        return kernel(value)
    return given[0].own(answer).to(query.dtype).reshape(*query.shape[:-1], answer.shape[-1])


def _whole_batch(tensor: Tensor, batch: int) -> Tensor:
    return tensor if tensor.shape[0] == batch else tensor.expand(batch, *tensor.shape[1:])


def _grouped(arrangement: Arrangement, leading: Sequence[int]) -> Arrangement:
    """The arrangement of keys or values that have fewer heads than queries, on their last leading axis."""
    own = arrangement.axes[-1] if arrangement.axes else ()
    if not own or not leading or leading[-1] in (1, math.prod(size for _, size, _ in own)):
        return arrangement
    return Arrangement((*arrangement.axes[:-1], ((HEAD, leading[-1], 0),)))


def _arranged(
    way: Interceptor, tensors: Sequence[Tensor], nodes: Sequence[Node | None], grouped: bool, *, named: bool
) -> Arrangement:
    """Which leading axes are sequences and which are heads.

    Raises:
        HeedfulError: It is not known, or what attends and is attended to are features.
    """
    query = tensors[0]
    axes = [None if node is None else axes_of(node) for node in nodes]
    for tensor, own, word in ((query, axes[0], "queries"), (tensors[1], axes[1], "keys")):
        if own is not None and FEATURE in kinds(own[-2]) and tensor.shape[-2] > 1:
            raise HeedfulError(f"its {word} are features, heads or channels: no attention over tokens")
    leading = query.shape[:-2]
    frame = way.stack.owner(None, None)
    batch = None if frame is None or frame.entering is None else frame.entering.shape[0]
    if not named:  # torch's own module, whose layout is known
        return Arrangement(tuple(((BATCH if place == 0 else HEAD, size, 0),) for place, size in enumerate(leading)))
    candidates = []
    for tensor, own in zip(tensors, axes, strict=True):
        if own is None or not _anything_known(own):
            continue
        fits = [n == size for n, size in zip(tensor.shape[:-2], leading, strict=False)]
        if tensor.dim() == query.dim():
            candidates.append(tuple(axis if fit else () for axis, fit in zip(own[:-2], fits, strict=True)))
    if grouped and candidates:
        candidates = candidates[:1]
    return arranged(leading, candidates, heads=way.stack.heads_named(frame), batch=batch, customary=query.dim() > 3)


def _anything_known(axes: Axes) -> bool:
    """Whether anything is known of some axis."""
    return any(UNKNOWN not in kinds(axis) for axis in axes)


MULTIHEAD = "nn.MultiheadAttention"

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
        way.notes.setdefault(MULTIHEAD, NOTE)
    with_rules = partial(_with_rules, given.arguments, _is_self(way, given.arguments))
    names = {
        **function.__globals__,
        "has_torch_function": lambda _: False,
        "scaled_dot_product_attention": partial(attend, way, name=MULTIHEAD, call_context=with_rules),
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

        answer = self.way.meet(None, MULTIHEAD, partial(self._describe, value), run, self.dropout)
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
