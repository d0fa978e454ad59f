"""Outputs that show nothing of the weights, positions that look like a diagonal, and softmaxes over a wrong axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tests.interception.layouts.changed_weights import (
    HardAttention,
    RenormalisedAttention,
    SquaredAttention,
    by_rows,
    one_hot,
    renormalised,
)
from tests.interception.layouts.flattening import BatchFirstAttention, HeadsFirstAttention, StackedChunkAttention
from tests.interception.layouts.layout import (
    EITHER,
    LISTED,
    MET,
    Case,
    Projected,
    Truth,
    layout,
    on_itself,
    seeded,
    truth_of,
)
from torch import Tensor, nn

LENGTH = 12


def emptied(module: Projected, bias: bool) -> Projected:
    """Values that are alike at every position: 0, or a constant of each head."""
    with torch.no_grad():
        module.value.weight.zero_()
        module.value.bias.fill_(0.0) if not bias else module.value.bias.normal_()
    return module


FOLDS = {"heads_first": HeadsFirstAttention, "stacked": StackedChunkAttention, "batch_first": BatchFirstAttention}


@layout(
    EITHER,
    **{
        f"{name}_{'constant' if bias else 'zero'}{'_equal' if batch == 4 else ''}": {
            "name": name,
            "bias": bias,
            "batch": batch,
        }
        for name in FOLDS
        for bias in (False, True)
        for batch in (3, 4)
    },
)
def blind_fold(name: str, bias: bool, batch: int) -> Case:
    """A recomputed output cannot tell heads from sequences where values are alike."""
    case = on_itself(emptied(FOLDS[name](4, called="num_heads"), bias), batch, LENGTH)
    case.proved = False
    return case


@layout(EITHER, renormalised={"name": "renormalised"}, squared={"name": "squared"}, hard={"name": "hard"})
def blind_change(name: str) -> Case:
    """Nor can it see that weights were changed on their way."""
    forms = {"renormalised": RenormalisedAttention, "squared": SquaredAttention, "hard": HardAttention}
    module, x = forms[name](), seeded(3, LENGTH)
    emptied(module, True)
    q, k, _ = (t.detach().double() for t in module.headed(x))
    logits = module.logits(q, k)
    rows = {"renormalised": renormalised, "hard": one_hot}.get(name, lambda given, _: by_rows(2 * given))
    weights = rows(logits, module)
    value = module.headed(x)[2].detach().double()
    seen = weights > 0 if name == "renormalised" else None
    return Case(module=module, inputs=(x,), truths=[Truth(weights=weights, value=value, seen=seen)], proved=False)


class BlindPaddingAttention(Projected):
    """Tokens of padding are like each other, so that their rows and values are."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET)
def alike_tokens() -> Case:
    """Every token the same: uniform rows."""
    module = BlindPaddingAttention(4, 4, called="num_heads")
    x = seeded(3, 1).expand(-1, LENGTH, -1).contiguous()
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x)])


class HalvesAttention(Projected):
    """The first half of the tokens looks at the second: as many, and no diagonal."""

    sdpa = False

    def forward(self, x: Tensor) -> Tensor:
        one, two = x.chunk(2, 1)
        q, k, v = self.headed(one, two)
        if self.sdpa:
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


class HalvesSdpaAttention(HalvesAttention):
    sdpa = True


@layout(MET, written={"form": HalvesAttention}, fused={"form": HalvesSdpaAttention})
def halves(form: type[Projected]) -> Case:
    module, x = form(4, 4, called="num_heads"), seeded(3, 2 * LENGTH)
    one, two = x.chunk(2, 1)
    return Case(module=module, inputs=(x,), truths=[truth_of(module, one, two)])


class PairAttention(nn.Module):
    """Two streams that look at each other through one module, as co-attention does."""

    def __init__(self, sdpa: bool) -> None:
        super().__init__()
        self.co_attn = Stream(sdpa)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self.co_attn(a, b), self.co_attn(b, a)


class Stream(Projected):
    def __init__(self, sdpa: bool) -> None:
        super().__init__(4, 4, called="num_heads")
        self.sdpa = sdpa

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q, k, v = self.headed(x, y)
        if self.sdpa:
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET, written={"sdpa": False}, fused={"sdpa": True})
def streams(sdpa: bool) -> Case:
    module, a, b = PairAttention(sdpa), seeded(3, LENGTH), seeded(3, LENGTH, seed=5)
    truths = [
        truth_of(module.co_attn, x, y, place=lambda out, i=i: out[i], path="co_attn", replaceable=False)
        for i, (x, y) in enumerate(((a, b), (b, a)))
    ]
    return Case(module=module, inputs=(a, b), truths=truths)


class PositionedAttention(Projected):
    """Queries and keys of tokens with positions, values of tokens without: still one sequence."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")
        self.position = nn.Parameter(torch.randn(1, LENGTH, 16))

    def forward(self, x: Tensor) -> Tensor:
        at = x + self.position
        q, k, v = (t.unflatten(-1, (-1, 4)).transpose(1, 2) for t in (self.query(at), self.key(at), self.value(x)))
        return ((q @ k.mT / 2).softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET)
def positioned() -> Case:
    module, x = PositionedAttention(), seeded(3, LENGTH)
    truth = truth_of(module, (x + module.position).detach())
    truth.value = module.headed(x)[2].detach()
    return Case(module=module, inputs=(x,), truths=[truth])


class WrongAxisAttention(Projected):
    """A softmax over an axis that is not the keys'."""

    def __init__(self, way: str, heads: int) -> None:
        super().__init__(heads, 4, called="num_heads")
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.headed(x)
        logits = q @ k.mT / self.head_dim**0.5
        if self.way == "folded_dim_1":
            out = torch.softmax(logits.flatten(0, 1), dim=1) @ v.flatten(0, 1)
            return out.view(b, -1, n, self.head_dim).transpose(1, 2).flatten(2)
        if self.way == "implicit":
            return (F.softmax(logits) @ v).transpose(1, 2).flatten(2)
        if self.way == "whole":
            weights = logits.flatten(2).softmax(-1).view_as(logits)
            return (weights @ v).transpose(1, 2).flatten(2)
        dim = {"queries": -2, "heads": 1, "batch": 0}[self.way]
        return (logits.softmax(dim=dim) @ v).transpose(1, 2).flatten(2)


AXES = ("queries", "heads", "batch", "folded_dim_1", "implicit", "whole")


@layout(
    LISTED,
    **{f"{way}_distinct": {"way": way, "heads": 9, "batch": 3} for way in AXES},
    **{f"{way}_equal": {"way": way, "heads": LENGTH, "batch": LENGTH} for way in AXES},
)
def wrong_axis(way: str, heads: int, batch: int) -> Case:
    """No row is a distribution over keys."""
    return Case(module=WrongAxisAttention(way, heads), inputs=(seeded(batch, LENGTH),))


class OverwrittenAttention(Projected):
    """The logits' memory is used again before the product."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        logits = q @ k.mT / self.head_dim**0.5
        weights = logits.softmax(-1)
        logits.zero_()
        return (weights @ v).transpose(1, 2).flatten(2)


class OverwrittenBlindAttention(OverwrittenAttention):
    """The same with values that show nothing."""


@layout(EITHER, seen={"blind": False}, blind={"blind": True})
def overwritten_logits(blind: bool) -> Case:
    module = OverwrittenAttention(4, 4, called="num_heads")
    case = on_itself(emptied(module, True) if blind else module, 3, LENGTH)
    case.proved = not blind
    return case
