"""Attention calls by name: every form that an engine must get right, small enough for loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.visibility import Visibility, bidirectional, causal, documents, masked, padding
from heedful.interception.rules import split_mask

LENGTH = 37
"""Not a multiple of any block, more than two blocks of the fewest rows."""

CASES: dict[str, Callable[[], AttentionCall]] = {}


def _case(build: Callable[[], AttentionCall]) -> Callable[[], AttentionCall]:
    CASES[build.__name__] = build
    return build


def attention_call(
    visibility: Visibility | None = None,
    *,
    seed: int = 0,
    batch: int = 2,
    heads: int = 4,
    kv_heads: int | None = None,
    queries: int = LENGTH,
    keys: int | None = None,
    dim: int = 8,
    value_dim: int | None = None,
    size: float = 1.5,
    dtype: torch.dtype = torch.float32,
    **rules: Any,
) -> AttentionCall:
    """A call of random tensors; ``size`` is the standard deviation of queries, which sets how sharp the rows are."""
    generator = torch.Generator().manual_seed(seed)
    keys = queries if keys is None else keys
    kv_heads = heads if kv_heads is None else kv_heads

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    query = size * draw(batch, heads, queries, dim)
    key, value = draw(batch, kv_heads, keys, dim), draw(batch, kv_heads, keys, value_dim or dim)
    tensors: dict[str, Any] = {"query": query.to(dtype), "key": key.to(dtype), "value": value.to(dtype)}
    return AttentionCall(**tensors, visibility=causal() if visibility is None else visibility, **rules)


def real_tokens(left: tuple[int, ...] = (0, 0), right: tuple[int, ...] = (0, 0), length: int = LENGTH) -> Tensor:
    """A tokenizer's attention mask: ``(batch, length)`` int64, 0 at padding."""
    mask = torch.ones(len(left), length, dtype=torch.int64)
    for row, (before, after) in enumerate(zip(left, right, strict=True)):
        mask[row, :before] = 0
        mask[row, length - after :] = 0
    return mask


def random_mask(*shape: int, share: float = 0.6, seed: int = 7) -> Tensor:
    """A bool mask of which about ``share`` is visible; each row sees at least its middle key."""
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < share
    mask[..., shape[-1] // 2] = True
    return mask


def causal_mask(length: int = LENGTH) -> Tensor:
    """The lower triangle as ``(1, 1, length, length)`` bool."""
    return torch.ones(length, length, dtype=torch.bool).tril()[None, None]


def document_ids(length: int = LENGTH) -> Tensor:
    """Labels of packed documents, ``(2, length)``: lengths differ, one is a single token, labels are in no order."""
    first = torch.tensor([7, 2, 90, 3]).repeat_interleave(torch.tensor([12, 1, length - 22, 9]))
    return torch.stack([first, torch.tensor([4, 1]).repeat_interleave(torch.tensor([length - 8, 8]))])


def alibi(heads: int, queries: int, keys: int) -> Tensor:
    """Linear biases, ``(1, head, query, key)``, of a different slope each head."""
    distance = torch.arange(queries)[:, None] + (keys - queries) - torch.arange(keys)[None, :]
    slopes = 2.0 ** -torch.arange(1, heads + 1)
    return -(slopes[:, None, None] * distance.abs())[None]


def t5_bias(heads: int, queries: int, keys: int, *, is_causal: bool) -> Tensor:
    """T5's bias, ``(1, head, query, key)``: by head and bucket of distance (Raffel et al., arXiv:1910.10683)."""
    away = torch.arange(queries)[:, None] + (keys - queries) - torch.arange(keys)[None, :]
    buckets = 8 if is_causal else 4
    exact = buckets // 2
    size = away.clamp_min(0) if is_causal else away.abs()
    far = exact + ((size.clamp_min(1) / exact).log() / math.log(32 / exact) * (buckets - exact)).long()
    bucket = torch.where(size < exact, size, far.clamp_max(buckets - 1))
    if not is_causal:
        bucket = bucket + buckets * (away < 0)
    table = torch.randn(8, heads, generator=torch.Generator().manual_seed(9))
    return table[bucket].permute(2, 0, 1)[None]


def filled_to(call: AttentionCall, length: int) -> AttentionCall:
    """The call with keys and values of 0 from ``length`` on: slots of a static cache that no token has filled."""
    slots = (torch.arange(call.n_keys) < length)[:, None]
    return replace(call, key=call.key * slots, value=None if call.value is None else call.value * slots)


@_case
def plain_causal() -> AttentionCall:
    return attention_call()


@_case
def plain_bidirectional() -> AttentionCall:
    return attention_call(bidirectional())


@_case
def padded_left() -> AttentionCall:
    return attention_call(causal() & padding(real_tokens(left=(0, 12))))


@_case
def padded_right() -> AttentionCall:
    return attention_call(causal() & padding(real_tokens(right=(0, 12))))


@_case
def padded_both() -> AttentionCall:
    return attention_call(causal() & padding(real_tokens(left=(3, 17), right=(5, 2))))


@_case
def padded_bidirectional() -> AttentionCall:
    return attention_call(bidirectional() & padding(real_tokens(left=(0, 20), right=(9, 0))))


@_case
def padded_keys_only() -> AttentionCall:
    return attention_call(bidirectional() & padding(real_tokens(left=(4, 0), right=(0, 9)), queries=False))


@_case
def grouped_heads() -> AttentionCall:
    return attention_call(heads=6, kv_heads=2)


@_case
def one_key_head() -> AttentionCall:
    return attention_call(bidirectional(), heads=5, kv_heads=1)


@_case
def one_key() -> AttentionCall:
    return attention_call(queries=1)


@_case
def two_keys() -> AttentionCall:
    return attention_call(queries=2)


@_case
def one_query_cached() -> AttentionCall:
    return attention_call(queries=1, keys=LENGTH, heads=4, kv_heads=2)


@_case
def static_cache_one_query() -> AttentionCall:
    return filled_to(attention_call(causal(offset=20), queries=1, keys=LENGTH, heads=4, kv_heads=2), 21)


@_case
def static_cache_filling() -> AttentionCall:
    return filled_to(attention_call(causal(offset=0), queries=9, keys=LENGTH), 9)


@_case
def few_queries_aligned_at_end() -> AttentionCall:
    return attention_call(queries=21, keys=LENGTH)


@_case
def few_queries_from_start() -> AttentionCall:
    return attention_call(causal(offset=0), queries=21, keys=LENGTH)


@_case
def few_queries_in_the_middle() -> AttentionCall:
    return attention_call(causal(offset=9, window=6), queries=21, keys=LENGTH)


@_case
def more_queries_than_keys() -> AttentionCall:
    return attention_call(queries=LENGTH, keys=15)


@_case
def window_causal() -> AttentionCall:
    return attention_call(causal(window=5))


@_case
def window_of_one() -> AttentionCall:
    return attention_call(causal(window=1))


@_case
def window_wider_than_all() -> AttentionCall:
    return attention_call(causal(window=3 * LENGTH))


@_case
def window_two_sided() -> AttentionCall:
    return attention_call(bidirectional(window=7))


@_case
def window_cached() -> AttentionCall:
    return attention_call(causal(window=8), queries=3, keys=LENGTH)


@_case
def window_padded() -> AttentionCall:
    return attention_call(causal(window=6) & padding(real_tokens(left=(0, 14), right=(3, 0))))


@_case
def bool_mask() -> AttentionCall:
    return attention_call(masked(random_mask(2, 1, LENGTH, LENGTH)))


@_case
def bool_mask_by_head() -> AttentionCall:
    mask = random_mask(1, 4, LENGTH, LENGTH)
    mask[:, 0, :, :6] = False  # heads that show different first keys
    mask[:, 3, :, :2] = False
    return attention_call(masked(mask))


@_case
def bool_mask_of_keys() -> AttentionCall:
    return attention_call(causal() & masked(random_mask(2, 1, 1, LENGTH)))


@_case
def bool_mask_of_rows() -> AttentionCall:
    mask = torch.ones(LENGTH, 1, dtype=torch.bool)
    mask[5:20] = False
    return attention_call(masked(mask))


@_case
def rows_that_see_nothing() -> AttentionCall:
    mask = random_mask(2, 1, LENGTH, LENGTH)
    mask[0, :, 4:9] = False
    mask[1, :, [0, 20, LENGTH - 1]] = False
    return attention_call(masked(mask))


@_case
def nothing_seen_at_all() -> AttentionCall:
    return attention_call(masked(torch.zeros(LENGTH, LENGTH, dtype=torch.bool)))


def _additive(hidden: float) -> AttentionCall:
    mask = torch.where(causal_mask(), 0.0, hidden).expand(2, 1, -1, -1).clone()
    mask[1, :, :, :5] = hidden
    seen, bias = split_mask(mask)
    return attention_call(masked(seen), bias=bias)


@_case
def float_min_mask() -> AttentionCall:
    return _additive(torch.finfo(torch.float32).min)


@_case
def minus_infinity_mask() -> AttentionCall:
    return _additive(-torch.inf)


@_case
def linear_bias() -> AttentionCall:
    return attention_call(bias=alibi(4, LENGTH, LENGTH))


@_case
def t5_bias_of_an_encoder() -> AttentionCall:
    return attention_call(bidirectional(), scale=1.0, size=0.5, bias=t5_bias(4, LENGTH, LENGTH, is_causal=False))


@_case
def t5_bias_of_a_decoder_cached() -> AttentionCall:
    bias = t5_bias(4, 1, LENGTH, is_causal=True)
    return attention_call(queries=1, keys=LENGTH, scale=1.0, size=0.5, bias=bias)


@_case
def bias_of_keys() -> AttentionCall:
    generator = torch.Generator().manual_seed(3)
    return attention_call(bidirectional(), bias=torch.randn(2, 1, 1, LENGTH, generator=generator))


@_case
def bias_of_rows_and_keys() -> AttentionCall:
    generator = torch.Generator().manual_seed(3)
    return attention_call(bidirectional(), bias=torch.randn(LENGTH, LENGTH, generator=generator))


@_case
def softcapped() -> AttentionCall:
    return attention_call(size=6.0, softcap=5.0)


@_case
def learned_sink() -> AttentionCall:
    return attention_call(sink=torch.tensor([-2.0, 0.0, 2.0, 30.0]))


@_case
def learned_sink_that_takes_all() -> AttentionCall:
    """Weights that underflow beside the sink: rows that see keys and give them nothing are not rows that see none."""
    return attention_call(sink=torch.full((4,), 200.0))


@_case
def learned_sink_padded() -> AttentionCall:
    sink = torch.tensor([-2.0, 0.0, 2.0, 5.0])
    return attention_call(causal() & padding(real_tokens(left=(0, 12))), sink=sink, heads=4, kv_heads=2)


@_case
def wide_values() -> AttentionCall:
    return attention_call(value_dim=19)


@_case
def no_values() -> AttentionCall:
    return replace(attention_call(), value=None)


@_case
def cross_attention() -> AttentionCall:
    return attention_call(bidirectional(), queries=19, keys=LENGTH)


@_case
def cross_attention_padded() -> AttentionCall:
    keys = real_tokens(left=(0, 4), right=(8, 0)).bool()
    return attention_call(Visibility(keys=keys), queries=19, keys=LENGTH)


@_case
def large_logits() -> AttentionCall:
    return attention_call(size=300.0)


@_case
def offset_logits() -> AttentionCall:
    """All logits near 300: a normaliser without the row's peak would overflow, and differences lose digits."""
    call = attention_call(size=0.2)
    shift = torch.zeros(8)
    shift[0] = 30.0
    return replace(call, query=call.query + shift, key=call.key + shift)


@_case
def own_scale() -> AttentionCall:
    return attention_call(scale=1.0, size=0.5)


@_case
def negative_scale() -> AttentionCall:
    return attention_call(scale=-0.3)


@_case
def one_dimension() -> AttentionCall:
    return attention_call(dim=1, value_dim=1, batch=1, heads=1)


@_case
def bfloat16() -> AttentionCall:
    return attention_call(dtype=torch.bfloat16, heads=4, kv_heads=2)


@_case
def float16() -> AttentionCall:
    return attention_call(dtype=torch.float16, heads=4, kv_heads=2)


@_case
def float64() -> AttentionCall:
    return attention_call(dtype=torch.float64, heads=4, kv_heads=2)


@_case
def packed_documents() -> AttentionCall:
    return attention_call(causal() & documents(document_ids()))


@_case
def packed_bidirectional() -> AttentionCall:
    return attention_call(bidirectional() & documents(document_ids()), heads=4, kv_heads=2)


@_case
def packed_window_padded() -> AttentionCall:
    """Padding inside a document as well as at the end, and a window that ends within documents."""
    rules = documents(document_ids()) & causal(window=4) & padding(real_tokens(left=(2, 13), right=(0, 5)))
    return attention_call(rules)


@_case
def packed_interleaved() -> AttentionCall:
    """Labels that come back: documents need not be contiguous."""
    return attention_call(causal() & documents(torch.arange(LENGTH).remainder(3).expand(2, -1)))


@_case
def packed_cached() -> AttentionCall:
    return attention_call(causal() & documents(document_ids()), queries=9, keys=LENGTH)


@_case
def packed_cross_attention() -> AttentionCall:
    """Queries of a label that no key has see nothing."""
    labels = torch.arange(19).remainder(5).expand(2, -1)
    return attention_call(bidirectional() & documents(document_ids(), labels), queries=19, keys=LENGTH)


@_case
def everything() -> AttentionCall:
    """Groups, window, padding, bias, softcap, sink and wide values at once, longer than the most rows of a block."""
    length = 150
    visibility = causal(window=90) & padding(real_tokens(left=(0, 33), right=(10, 0), length=length))
    return attention_call(
        visibility,
        queries=length,
        heads=4,
        kv_heads=2,
        value_dim=5,
        bias=alibi(4, length, length),
        softcap=8.0,
        sink=torch.tensor([-1.0, 0.0, 1.0, 2.0]),
    )


_BIAS, _SINK = "a finite bias", "a learned sink"
UNSUPPORTED: dict[str, dict[str, str]] = {
    "dense": {},
    "tiled": {},
    "fused": {
        "linear_bias": _BIAS,
        "t5_bias_of_an_encoder": _BIAS,
        "t5_bias_of_a_decoder_cached": _BIAS,
        "bias_of_keys": _BIAS,
        "bias_of_rows_and_keys": _BIAS,
        "softcapped": "a softcap",
        "learned_sink": _SINK,
        "learned_sink_that_takes_all": _SINK,
        "learned_sink_padded": _SINK,
        "float64": "float64",
        "everything": _BIAS,
    },
}
"""Cases that an engine must refuse, with words of the reason; it claims every other."""


def plain(call: AttentionCall) -> dict[str, Any]:
    """A call in float64 numpy arrays and numbers, as the oracles take it."""

    def array(tensor: Tensor | None) -> np.ndarray | None:
        if tensor is None:
            return None
        return tensor.numpy() if not tensor.is_floating_point() else tensor.double().numpy()

    rules = call.visibility
    return {
        "query": array(call.query),
        "key": array(call.key),
        "value": array(call.value),
        "scale": call.scale,
        "causal": rules.is_causal,
        "window": rules.window,
        "offset": rules.offset,
        "real_keys": array(rules.keys),
        "real_queries": array(rules.queries),
        "mask": array(rules.mask),
        "documents": array(rules.documents),
        "query_documents": array(rules.query_documents),
        "bias": array(call.bias),
        "softcap": call.softcap,
        "sink": array(call.sink),
    }
