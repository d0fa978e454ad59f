"""Interceptor for direct calls of ``scaled_dot_product_attention``, outside transformers' table of attention
functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.errors import HeedfulError
from heedful.interception import call_context as hint
from heedful.interception.arrangement import BATCH, HEAD, Arrangement, arranged
from heedful.interception.call_context import CallContext
from heedful.interception.factors import FEATURE, UNKNOWN, Axes, kinds
from heedful.interception.interceptors.interceptor import Interceptor
from heedful.interception.layout import axes_of
from heedful.interception.lineage import Node
from heedful.interception.rules import sdpa_rules

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
