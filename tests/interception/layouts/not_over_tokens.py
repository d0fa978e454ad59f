"""Softmaxes and products that are no attention of tokens to tokens, and attention that has no softmax."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from tests.interception.layouts.layout import (
    CROSS,
    EITHER,
    LISTED,
    SILENT,
    Case,
    Projected,
    Truth,
    layout,
    seeded,
    truth_of,
    weights_by_loops,
)
from torch import Tensor, nn

LENGTH = 12


class LinearAttention(Projected):
    """elu + 1, keys against values first."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        context = torch.einsum("bhnd,bhne->bhde", k, v)
        norm = 1 / torch.einsum("bhnd,bhd->bhn", q, k.sum(2))
        return torch.einsum("bhnd,bhde,bhn->bhne", q, context, norm).transpose(1, 2).flatten(2)


class EfficientAttention(Projected):
    """softmax over features of the query, over tokens of the key."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return (q.softmax(-1) @ (k.softmax(-2).mT @ v)).transpose(1, 2).flatten(2)


class ContextAttention(Projected):
    """The softmax of the keys over tokens alone: (dim, n) @ (n, dim)."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        context = k.transpose(2, 3).softmax(dim=-1) @ v
        return (q @ context).transpose(1, 2).flatten(2)


class FeatureMapAttention(Projected):
    """Both softmaxes over features, applied token to token without another softmax (Hedgehog)."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        weights = q.softmax(-1) @ k.softmax(-1).mT
        return (weights / weights.sum(-1, keepdim=True) @ v).transpose(1, 2).flatten(2)


class CrossCovarianceAttention(Projected):
    """XCiT: features attend to features."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.transpose(-2, -1) for t in self.headed(x))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        return ((q @ k.mT * 8).softmax(-1) @ v).permute(0, 3, 1, 2).flatten(2)


class ChannelAttention(Projected):
    """DaViT: channel groups, (dim, dim) weights, values on the right."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        weights = (q.mT @ k * LENGTH**-0.5).softmax(dim=-1)
        return (weights @ v.mT).mT.transpose(1, 2).flatten(2)


class ChannelSdpaAttention(Projected):
    """The same by scaled_dot_product_attention of transposed tensors."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.transpose(2, 3) for t in self.headed(x))
        return F.scaled_dot_product_attention(q, k, v).transpose(2, 3).transpose(1, 2).flatten(2)


class ForgottenTransposeAttention(Projected):
    """(batch, n, head, dim) without the transpose: the heads of one token attend to each other."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).flatten(2)


class ExternalAttention(Projected):
    """Tokens against a learned memory of ten units, normalised twice."""

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__(heads, dim, called="num_heads")
        self.memory_key, self.memory_value = nn.Linear(dim, 10), nn.Linear(10, dim)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.memory_key(self.headed(x)[0]).softmax(-2)
        weights = weights / weights.sum(-1, keepdim=True)
        return self.memory_value(weights).transpose(1, 2).flatten(2)


class CodebookAttention(Projected):
    """A softmax over twelve codes, and their mean."""

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__(heads, dim, called="heads")
        self.codes = nn.Parameter(torch.randn(LENGTH, dim))

    def forward(self, x: Tensor) -> Tensor:
        return ((self.headed(x)[0] @ self.codes.T).softmax(-1) @ self.codes).transpose(1, 2).flatten(2)


class GatingAttention(Projected):
    """A softmax over features times the values: a gate."""

    def forward(self, x: Tensor) -> Tensor:
        q, _, v = self.headed(x)
        return (q.softmax(-1) * v).transpose(1, 2).flatten(2)


class DynamicConvolutionAttention(Projected):
    """A softmax over nine taps of a kernel, times unfolded values."""

    def forward(self, x: Tensor) -> Tensor:
        v = self.value(x).mT
        taps = self.query(x)[..., :9].softmax(-1)
        unfolded = F.pad(v, (4, 4)).unfold(2, 9, 1)
        return torch.einsum("bdnt,bnt->bnd", unfolded, taps)


KINDS: dict[str, tuple[str, type[Projected]]] = {
    "linear": (LISTED, LinearAttention),
    "efficient": (LISTED, EfficientAttention),
    "context": (LISTED, ContextAttention),
    "feature_map": (LISTED, FeatureMapAttention),
    "cross_covariance": (LISTED, CrossCovarianceAttention),
    "channel": (LISTED, ChannelAttention),
    "channel_sdpa": (LISTED, ChannelSdpaAttention),
    "forgotten_transpose": (LISTED, ForgottenTransposeAttention),
    "external": (LISTED, ExternalAttention),
    "codebook": (LISTED, CodebookAttention),
    "gating": (LISTED, GatingAttention),
    "dynamic_convolution": (LISTED, DynamicConvolutionAttention),
}
SIZES = {
    "distinct": {"heads": 9, "dim": 10, "batch": 11},
    "dim_is_length": {"heads": 3, "dim": LENGTH, "batch": 2},
    "all_equal": {"heads": LENGTH, "dim": LENGTH, "batch": LENGTH},
}


@layout(
    LISTED,
    **{
        f"{name}_{how}": {"form": form, "outcome": outcome, **given}
        for name, (outcome, form) in KINDS.items()
        for how, given in SIZES.items()
    },
)
def other(form: Callable[..., Projected], heads: int, dim: int, batch: int) -> Case:
    named = {} if form in (ExternalAttention, CodebookAttention) else {"called": "num_heads"}
    return Case(module=form(heads, dim, **named), inputs=(seeded(batch, LENGTH),))


class BatchAttention(Projected):
    """(n, batch, ...) taken for (batch, n, ...): sequences attend to each other at each position."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.permute(1, 2, 0, 3) for t in self.split(x))
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).permute(2, 0, 1, 3).flatten(2)


@layout(EITHER, distinct={"batch": 11}, equal={"batch": LENGTH})
def across_batch(batch: int) -> Case:
    """Nothing says which axis is the sequence: what is met is that of a module that takes (n, batch, width)."""
    module, x = BatchAttention(4, 4, called="num_heads"), seeded(batch, LENGTH)
    truth = truth_of(module, x.transpose(0, 1), place=lambda out: out.transpose(0, 1))
    return Case(module=module, inputs=(x,), truths=[truth])


class Router(nn.Module):
    """A mixture of twelve experts by a softmax and an einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, LENGTH)
        self.experts = nn.Parameter(torch.randn(LENGTH, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.gate(x).softmax(-1)
        return torch.einsum("bne,bnef->bnf", weights, torch.einsum("bnd,edf->bnef", x, self.experts))


class SoftRouter(Router):
    """Soft mixture: slots are weighted means of tokens, tokens weighted means of slots."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.gate(x)
        slots = logits.softmax(1).mT @ x
        out = torch.einsum("bed,edf->bef", slots, self.experts)
        return logits.softmax(-1) @ out


class Classifier(nn.Module):
    """A softmax over classes, expected value of their embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.labels = nn.Linear(16, LENGTH), nn.Embedding(LENGTH, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x).softmax(-1) @ self.labels.weight


class Contrast(nn.Module):
    """Similarity of all sequences to all others."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.normalize(x.mean(1), dim=-1)
        return (pooled @ pooled.T * 10).softmax(-1)


class SoftArgmax(nn.Module):
    """The mean position of a heat map, over (batch, channel, row * column)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mT.softmax(-1) @ torch.arange(x.shape[1], dtype=x.dtype)[:, None]


class SqueezeAttention(nn.Module):
    """Squeeze and excitation: one softmax over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean(1, keepdim=True)).softmax(-1)


@layout(
    SILENT,
    router={"form": Router},
    soft_router={"form": SoftRouter},
    classifier={"form": Classifier},
    contrast={"form": Contrast},
    soft_argmax={"form": SoftArgmax},
    squeeze={"form": SqueezeAttention},
)
def passing(form: Callable[[], nn.Module]) -> Case:
    return Case(module=form(), inputs=(seeded(9, LENGTH),))


class PoolingAttention(nn.Module):
    """(batch, n, 1) scores, softmax over tokens, a weighted sum."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.score(x).softmax(dim=1) * x).sum(1)


class ScorePoolingAttention(PoolingAttention):
    """The same by a product, (batch, 1, n) @ (batch, n, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.score(x).mT.softmax(-1) @ x)[:, 0]


class SlotAttention(Projected):
    """The softmax is over slots, then rows are normalised over tokens."""

    def __init__(self) -> None:
        super().__init__(1, 16, called="num_heads")
        self.slots = nn.Parameter(torch.randn(9, 16))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query(self.slots), self.key(x), self.value(x)
        weights = (k @ q.T / 4).softmax(-1) + 1e-8
        return (weights / weights.sum(1, keepdim=True)).mT @ v


class SigmoidAttention(Projected):
    """No softmax: a sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return ((q @ k.mT / self.head_dim**0.5 - 2.5).sigmoid() @ v).transpose(1, 2).flatten(2)


class SquaredAttention(Projected):
    """No softmax: squared rectified logits, divided by their sum."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        weights = (q @ k.mT).relu().square()
        return (weights / (weights.sum(-1, keepdim=True) + 1e-6) @ v).transpose(1, 2).flatten(2)


@layout(
    LISTED,
    pooling={"form": PoolingAttention, "outcome": EITHER},
    score_pooling={"form": ScorePoolingAttention, "outcome": EITHER},
    slots={"form": SlotAttention},
    sigmoid={"form": lambda: SigmoidAttention(4, 4, called="num_heads")},
    squared={"form": lambda: SquaredAttention(4, 4, called="num_heads")},
)
def without(form: Callable[[], nn.Module]) -> Case:
    """What pools is met as one query, or listed; what has no softmax over tokens is listed."""
    module, x = form(), seeded(9, LENGTH)
    case = Case(module=module, inputs=(x,))
    if isinstance(module, PoolingAttention):
        case.truths = [pooled(module, x)]
    return case


def pooled(module: PoolingAttention, x: Tensor) -> Truth:
    one = torch.ones(len(x), 1, 1, 1, dtype=torch.float64)
    weights = weights_by_loops(one, module.score(x).detach()[:, None].double(), scale=1.0)
    return Truth(weights=weights, value=x[:, None], place=lambda out: out[:, None], positions=CROSS)
