"""Modules of which a part is in a form that is easily met and another part is not, and runs of several forwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tests.interception.layouts.calls import rows_of
from tests.interception.layouts.layout import CROSS, EITHER, MET, Case, Projected, Truth, layout, seeded, truth_of
from torch import Tensor

LENGTH = 24


class PartAttention(Projected):
    """Four heads; a subclass writes parts of it in different ways."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="num_attention_heads")

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return self.out_of(q / self.head_dim**0.5, k, v).transpose(1, 2).flatten(2)

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise NotImplementedError


def by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    e = (q @ k.mT).exp()
    return (e / e.sum(-1, keepdim=True)) @ v


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).softmax(-1) @ v


class EndsAttention(PartAttention):
    """The first and the last block of queries in four axes, those between in five: all look at everything."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        blocks = q.unflatten(2, (-1, 6))
        logits = torch.einsum("bhmqd,bhkd->bhmqk", blocks[:, :, 1:-1], k)
        between = torch.einsum("bhmqk,bhkd->bhmqd", logits.softmax(-1), v)
        first, last = plain(blocks[:, :, 0], k, v), plain(blocks[:, :, -1], k, v)
        return torch.cat([first[:, :, None], between, last[:, :, None]], 2).flatten(2, 3)


class OneChunkByHandAttention(PartAttention):
    """Three chunks of queries by softmax, the last by exp and sum."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = q.split(6, 2)
        return torch.cat([*(plain(part, k, v) for part in parts[:3]), by_hand(parts[3], k, v)], 2)


class FusedAndHandAttention(PartAttention):
    """The first half of the queries fused, the rest by hand."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        one, two = q.chunk(2, 2)
        return torch.cat([F.scaled_dot_product_attention(one * 2, k, v), by_hand(two, k, v)], 2)


class HalfTheHeadsAttention(PartAttention):
    """Two heads by softmax and product, two by hand."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        (a, b), (c, d), (e, f) = (t.chunk(2, 1) for t in (q, k, v))
        return torch.cat([plain(a, c, e), by_hand(b, d, f)], 1)


class FusedHalfTheHeadsAttention(PartAttention):
    """Two heads by a softmax, two fused: each right of its own two."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        (a, b), (c, d), (e, f) = (t.chunk(2, 1) for t in (q, k, v))
        return torch.cat([plain(a, c, e), F.scaled_dot_product_attention(b * 2, d, f)], 1)


class HalfTheSequencesAttention(PartAttention):
    """The first sequence by softmax and product, the others by hand."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.cat([plain(q[:1], k[:1], v[:1]), by_hand(q[1:], k[1:], v[1:])])


class SplitKeysAttention(PartAttention):
    """Keys in two halves, two softmaxes that are put together by their sums: no row of either is a row of the model."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = [q @ part.mT for part in k.chunk(2, 2)]
        total = torch.stack([part.logsumexp(-1, keepdim=True) for part in parts]).softmax(0)
        outs = [part.softmax(-1) @ value for part, value in zip(parts, v.chunk(2, 2), strict=True)]
        return total[0] * outs[0] + total[1] * outs[1]


class JoinedProductsAttention(PartAttention):
    """One softmax over all keys, its product with values in two halves that are added."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        one, two = (q @ k.mT).softmax(-1).chunk(2, -1)
        first, second = v.chunk(2, 2)
        return one @ first + two @ second


class HalfTheRowsUsedAttention(PartAttention):
    """A softmax of all rows, of which the product takes the even ones; the odd ones come by hand."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = (q @ k.mT).softmax(-1)
        even, odd = weights[:, :, ::2] @ v, by_hand(q[:, :, 1::2], k, v)
        return torch.stack([even, odd], 3).flatten(2, 3)


class GivenUpAttention(PartAttention):
    """A first softmax and product whose result is thrown away, and the attention that counts."""

    def out_of(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        plain(k, q, v)
        return by_hand(q, k, v)


PARTS = {
    "ends": EndsAttention,
    "one_chunk_by_hand": OneChunkByHandAttention,
    "fused_and_hand": FusedAndHandAttention,
    "half_the_heads": HalfTheHeadsAttention,
    "half_the_sequences": HalfTheSequencesAttention,
    "split_keys": SplitKeysAttention,
    "joined_products": JoinedProductsAttention,
    "half_the_rows_used": HalfTheRowsUsedAttention,
}


@layout(EITHER, **{name: {"form": form} for name, form in PARTS.items()})
def part(form: Callable[[], PartAttention]) -> Case:
    """All rows of all heads, or nothing verified: a part of the rows must not pass for the module's."""
    module, x = form(), seeded(3, LENGTH)
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x)])


@layout(EITHER)
def part_fused_half_the_heads() -> Case:
    """Two heads are met in one form, two in another: four, or two and two."""
    module, x = FusedHalfTheHeadsAttention(), seeded(3, LENGTH)
    whole = truth_of(module, x)
    assert whole.value is not None
    halves = [
        Truth(weights=whole.weights[:, at], value=whole.value[:, at], place=None, replaceable=False)
        for at in (slice(0, 2), slice(2, 4))
    ]
    return Case(module=module, inputs=(x,), truths=[whole], others=(halves,))


@layout(EITHER)
def part_given_up() -> Case:
    """What is thrown away was an attention too, with keys for queries."""
    module, x = GivenUpAttention(), seeded(3, LENGTH)
    swapped = Projected(4, 4)
    swapped.query, swapped.key, swapped.value = module.key, module.query, module.value
    thrown = truth_of(swapped, x, place=None)
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x)], others=([thrown],))


class CachedAttention(Projected):
    """Keys and values of the steps before are kept by the caller."""

    def forward(self, x: Tensor, cache: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        q, k, v = self.headed(x)
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
        n, m = q.shape[2], k.shape[2]
        seen = torch.ones(n, m, dtype=torch.bool).tril(m - n)
        logits = (q @ k.mT / self.head_dim**0.5).masked_fill(~seen, float("-inf"))
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2), [k, v]


@layout(MET, distinct={"batch": 3}, equal={"batch": 4})
def decoding(batch: int) -> Case:
    """A prompt of ten and five steps, six forwards of the model: the rows of one sequence each."""
    module, x = CachedAttention(4, 4, called="num_heads"), seeded(batch, 15)

    def run() -> Tensor:
        out, cache = module(x[:, :10])
        found = [out]
        for step in range(10, 15):
            out, cache = module(x[:, step : step + 1], cache)
            found.append(out)
        return torch.cat(found, 1)

    seen = torch.ones(15, 15, dtype=torch.bool).tril()
    return Case(module=module, run=run, truths=[truth_of(module, x, seen=seen)])


class CrossAttention(Projected):
    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        q, k, v = self.headed(x, source)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(EITHER)
def decoding_across() -> Case:
    """The decoder's rows of one sequence, forward after forward, over one source."""
    module, x, source = CrossAttention(4, 4, called="num_heads"), seeded(3, 9), seeded(3, 12, seed=5)

    def run() -> Tensor:
        return torch.cat([module(x[:, :5], source), *(module(x[:, i : i + 1], source) for i in range(5, 9))], 1)

    return Case(module=module, run=run, truths=[truth_of(module, x, source, positions=CROSS)])


@layout(MET, written={"fused": False}, fused={"fused": True})
def two_batches(fused: bool) -> Case:
    """Two batches of other sizes: the mean is over the five sequences."""
    module: Any = (FusedAttention if fused else SelfAttention)(4, 4, called="num_heads")
    x = seeded(5, LENGTH)
    truth = truth_of(module, x)
    return Case(module=module, run=lambda: torch.cat([module(x[:2]), module(x[2:])]), truths=[truth])


class SelfAttention(Projected):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return plain(q / self.head_dim**0.5, k, v).transpose(1, 2).flatten(2)


class FusedAttention(Projected):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*self.headed(x)).transpose(1, 2).flatten(2)


class SwitchingAttention(SelfAttention):
    """Long inputs are attended to in chunks of queries, short ones at once."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] <= 12:
            return super().forward(x)
        q, k, v = self.headed(x)
        parts = [plain(part / self.head_dim**0.5, k, v) for part in q.split(12, 2)]
        return torch.cat(parts, 2).transpose(1, 2).flatten(2)


@layout(EITHER)
def switching() -> Case:
    module, x = SwitchingAttention(4, 4, called="num_heads"), seeded(3, LENGTH)
    whole = truth_of(module, x)
    return Case(module=module, inputs=(x,), truths=[whole], others=(rows_of(whole, [slice(0, 12), slice(12, LENGTH)]),))
