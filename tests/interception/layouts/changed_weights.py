"""Weights that are changed between the softmax and the values, shared, gated, dropped, or more than one of a module."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from tests.interception.layouts.layout import EITHER, MET, Case, Projected, Truth, layout, on_itself, seeded, truth_of
from tests.interception.layouts.layout import weights_by_loops as by_loops
from torch import Tensor, nn

LENGTH = 12


class ChangedAttention(Projected):
    """Something happens to the weights, or to what they give."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")
        self.talking = nn.Parameter(torch.eye(4) + torch.randn(4, 4) * 0.3)
        self.gate = nn.Parameter(torch.tensor([0.5, 1.5, 0.9, 1.2]).view(4, 1, 1))

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT / self.head_dim**0.5

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return self.out_of(self.logits(q, k), v).transpose(1, 2).flatten(2)

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        raise NotImplementedError


class TalkingBeforeAttention(ChangedAttention):
    """Logits of the heads are mixed before the softmax."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        return torch.einsum("bhqk,hg->bgqk", logits, self.talking).softmax(-1) @ v


class TalkingAfterAttention(ChangedAttention):
    """Weights of the heads are mixed after it: the softmax's rows are not what meets the values."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        return torch.einsum("bhqk,hg->bgqk", logits.softmax(-1), self.talking.softmax(0)) @ v


class RenormalisedAttention(ChangedAttention):
    """Weights below the mean are dropped, and the rest is divided by its sum."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        weights = logits.softmax(-1)
        weights = weights * (weights > 0.02)
        return (weights / weights.sum(-1, keepdim=True)) @ v


class SquaredAttention(ChangedAttention):
    """Weights are squared in place and normalised again."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        weights = logits.softmax(-1)
        weights.square_()
        weights /= weights.sum(-1, keepdim=True)
        return weights @ v


class GatedOutputAttention(ChangedAttention):
    """The output of each head is gated: the weights stay."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        return (logits.softmax(-1) @ v) * self.gate


class GatedWeightsAttention(ChangedAttention):
    """The weights of each head are gated: the rows no longer sum to 1."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        return (logits.softmax(-1) * self.gate) @ v


class TemperatureAttention(ChangedAttention):
    """A learned temperature a head, before the softmax."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        return (logits * self.gate).softmax(-1) @ v


class SinkColumnAttention(ChangedAttention):
    """A learned logit a head is appended and dropped after the softmax."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        sink = self.gate.expand(len(logits), -1, logits.shape[2], 1)
        return torch.cat([logits, sink], -1).softmax(-1)[..., :-1] @ v


class OffByOneAttention(ChangedAttention):
    """softmax1: a zero is appended by a pad."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        return F.pad(logits, (1, 0)).softmax(-1)[..., 1:] @ v


class SymmetricAttention(ChangedAttention):
    """The mean of the softmaxes over rows and over columns."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        return (logits.softmax(-1) + logits.softmax(-2)) / 2 @ v


class IdentityAddedAttention(ChangedAttention):
    """The weights less their mean plus the identity."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        weights = logits.softmax(-1)
        weights.diagonal(dim1=-2, dim2=-1).add_(1.0)
        return weights @ v


class HardAttention(ChangedAttention):
    """Straight through: a one-hot row forward."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        soft = logits.softmax(-1)
        hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return (hard + soft - soft.detach()) @ v


class ZeroedAttention(ChangedAttention):
    """Two heads are pruned by zeroing their weights in place."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        weights = logits.softmax(-1)
        weights[:, 1:3] = 0
        return weights @ v


class MaskedAfterAttention(ChangedAttention):
    """Softmax over all keys, then hidden ones are multiplied by nothing: the rows sum to less than 1."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        return (logits.softmax(-1) * torch.ones(LENGTH, LENGTH).tril()) @ v


class MaskedAgainAttention(ChangedAttention):
    """Hidden before the softmax, and zeroed again after it: a no-op."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        later = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
        weights = logits.masked_fill(later, -1e9).softmax(-1).masked_fill(later, 0.0)
        return weights @ v


class GumbelAttention(ChangedAttention):
    """Noise of the Gumbel distribution on the logits: what enters the softmax is the row."""

    def out_of(self, logits: Tensor, v: Tensor) -> Tensor:
        return F.gumbel_softmax(logits, tau=1.0, dim=-1) @ v


SEEN = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
Worked = Callable[[Tensor, Tensor, ChangedAttention], Tensor]


def by_rows(logits: Tensor, seen: Tensor | None = None) -> Tensor:
    """The softmax of given logits by the loops of the oracle."""
    ones = torch.ones(*logits.shape[:3], 1, dtype=torch.float64)
    keys = torch.zeros(*logits.shape[:2], logits.shape[3], 1, dtype=torch.float64)
    return by_loops(ones, keys, bias=logits, seen=seen, scale=1.0)


def talked_before(logits: Tensor, module: ChangedAttention) -> Tensor:
    mixed = [sum(logits[:, h] * module.talking[h, g].double() for h in range(4)) for g in range(4)]
    return by_rows(torch.stack(mixed, 1))  # type: ignore[arg-type]


def talked_after(logits: Tensor, module: ChangedAttention) -> Tensor:
    weights, share = by_rows(logits), module.talking.softmax(0).double()
    return torch.stack([sum(weights[:, h] * share[h, g] for h in range(4)) for g in range(4)], 1)  # type: ignore


def renormalised(logits: Tensor, module: ChangedAttention) -> Tensor:
    weights = by_rows(logits)
    return by_rows(logits, weights > 0.02)


def one_hot(logits: Tensor, module: ChangedAttention) -> Tensor:
    return F.one_hot(logits.argmax(-1), LENGTH).double()


def with_sink(logits: Tensor, module: ChangedAttention) -> Tensor:
    sink = module.gate.double().expand(len(logits), -1, logits.shape[2], 1)
    return by_rows(torch.cat([logits, sink], -1))[..., :-1]


def with_zero(logits: Tensor, module: ChangedAttention) -> Tensor:
    return by_rows(F.pad(logits, (0, 1)))[..., :-1]


CHANGES: dict[str, tuple[str, type[ChangedAttention], Callable[[Tensor, ChangedAttention], Tensor] | None]] = {
    "talking_before": (MET, TalkingBeforeAttention, talked_before),
    "talking_after": (EITHER, TalkingAfterAttention, talked_after),
    "renormalised": (EITHER, RenormalisedAttention, renormalised),
    "squared": (EITHER, SquaredAttention, lambda logits, module: by_rows(2 * logits)),
    "gated_output": (MET, GatedOutputAttention, lambda logits, module: by_rows(logits)),
    "gated_weights": (EITHER, GatedWeightsAttention, lambda logits, module: by_rows(logits)),
    "temperature": (MET, TemperatureAttention, lambda logits, module: by_rows(logits * module.gate.double())),
    "sink_column": (EITHER, SinkColumnAttention, with_sink),
    "off_by_one": (EITHER, OffByOneAttention, with_zero),
    "symmetric": (EITHER, SymmetricAttention, None),
    "identity_added": (EITHER, IdentityAddedAttention, None),
    "hard": (EITHER, HardAttention, one_hot),
    "zeroed": (EITHER, ZeroedAttention, None),
    "masked_after": (EITHER, MaskedAfterAttention, None),
    "masked_again": (MET, MaskedAgainAttention, lambda logits, module: by_rows(logits, SEEN)),
    "gumbel": (EITHER, GumbelAttention, None),
}
SCALED = (GatedOutputAttention, GatedWeightsAttention)


@layout(MET, **{name: {"name": name, "outcome": outcome} for name, (outcome, _, _) in CHANGES.items()})
def changed(name: str) -> Case:
    """Where no rows are given, whatever is verified is wrong: no distribution meets the values."""
    _, form, worked = CHANGES[name]
    module, x = form(), seeded(3, LENGTH)
    if worked is None:
        bare = Truth(weights=torch.full((3, 4, LENGTH, LENGTH), 1 / LENGTH), place=None)
        return Case(module=module, inputs=(x,), truths=[bare])
    truth = truth_of(module, x)
    q, k, _ = (t.detach().double() for t in module.headed(x))
    truth.weights = worked(module.logits(q, k), module).detach()
    truth.seen = {"renormalised": truth.weights > 0, "masked_again": SEEN.expand_as(truth.weights)}.get(name)
    truth.partial = worked in (with_sink, with_zero)
    if form in SCALED and truth.value is not None:
        truth.value = truth.value * module.gate.detach()
    return Case(module=module, inputs=(x,), truths=[truth])


class TwoAtOnceAttention(nn.Module):
    """Two softmaxes, and only then the two products."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Projected(4, 4), Projected(3, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        (q, k, v), (r, s, w) = self.one.headed(x), self.two.headed(x)
        first, second = (q @ k.mT / 2).softmax(-1), (r @ s.mT / 2).softmax(-1)
        return (first @ v).transpose(1, 2).flatten(2), (second @ w).transpose(1, 2).flatten(2)


class TwoCrossedAttention(TwoAtOnceAttention):
    """The second softmax's product comes first."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        (q, k, v), (r, s, w) = self.one.headed(x), self.two.headed(x)
        first, second = (q @ k.mT / 2).softmax(-1), (r @ s.mT / 2).softmax(-1)
        two = (second @ w).transpose(1, 2).flatten(2)
        return (first @ v).transpose(1, 2).flatten(2), two


@layout(EITHER, in_order={"form": TwoAtOnceAttention}, crossed={"form": TwoCrossedAttention})
def two_softmaxes(form: type[TwoAtOnceAttention]) -> Case:
    """Replacing is by module, so that it can refuse; a head of one must not be taken from the other."""
    module, x = form(), seeded(3, LENGTH)
    one = truth_of(module.one, x, place=lambda out: out[0], replaceable=False)
    two = truth_of(module.two, x, place=lambda out: out[1], replaceable=False)
    return Case(module=module, inputs=(x,), truths=[one, two])


class DifferentialAttention(Projected):
    """The difference of two softmaxes, each of half a head's width."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        (q1, q2), (k1, k2) = q.chunk(2, -1), k.chunk(2, -1)
        one, two = ((a @ b.mT / (self.head_dim / 2) ** 0.5).softmax(-1) for a, b in ((q1, k1), (q2, k2)))
        return ((one - 0.4 * two) @ v).transpose(1, 2).flatten(2)


class DifferenceOfOutputsAttention(Projected):
    """The same with two products: each softmax is an attention of its own."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        (q1, q2), (k1, k2) = q.chunk(2, -1), k.chunk(2, -1)
        one = F.scaled_dot_product_attention(q1, k1, v)
        two = F.scaled_dot_product_attention(q2, k2, v)
        return (one - 0.4 * two).transpose(1, 2).flatten(2)


@layout(EITHER, weights={"form": DifferentialAttention})
def differential(form: type[Projected]) -> Case:
    bare = Truth(weights=torch.full((3, 4, LENGTH, LENGTH), 1 / LENGTH), place=None)
    return Case(module=form(4, 8, called="num_heads"), inputs=(seeded(3, LENGTH),), truths=[bare])


@layout(MET)
def differential_of_outputs() -> Case:
    module, x = DifferenceOfOutputsAttention(4, 8, called="num_heads"), seeded(3, LENGTH)
    q, k, v = (t.detach().double() for t in module.headed(x))
    truths = [
        Truth(weights=by_loops(a, b), value=v, place=None) for a, b in zip(q.chunk(2, -1), k.chunk(2, -1), strict=True)
    ]
    return Case(module=module, inputs=(x,), truths=truths)


class DropoutAttention(Projected):
    """Dropout of the weights, in one of the ways in which it is written."""

    def __init__(self, way: str) -> None:
        super().__init__(4, 4, called="num_heads")
        self.way, self.drop = way, nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        if self.way == "sdpa":
            p = 0.3 if self.training else 0.0
            return F.scaled_dot_product_attention(q, k, v, dropout_p=p).transpose(1, 2).flatten(2)
        weights = (q @ k.mT / self.head_dim**0.5).softmax(-1)
        if self.way == "module":
            weights = self.drop(weights)
        elif self.way == "function":
            weights = F.dropout(weights, p=0.3, training=self.training)
        elif self.way == "bernoulli":
            weights = weights * torch.bernoulli(torch.full_like(weights, 0.7)) / 0.7
        elif self.way == "heads":
            weights = weights * F.dropout(torch.ones(1, 4, 1, 1), 0.3, self.training)
        return (weights @ v).transpose(1, 2).flatten(2)


WAYS = ("sdpa", "module", "function", "bernoulli", "heads")


@layout(EITHER, **{way: {"way": way} for way in WAYS})
def dropped(way: str) -> Case:
    """In training. Statistics are those of the rows before dropout, or nothing is claimed."""
    case = on_itself(DropoutAttention(way), 3, LENGTH, place=None)
    case.training, case.proved = True, way != "bernoulli"
    return case


class ResidualAttention(nn.Module):
    """Logits of the layer before are added to the next one's."""

    def __init__(self) -> None:
        super().__init__()
        self.attns = nn.ModuleList(Projected(4, 4) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        before, found = torch.zeros(()), []
        for attn in self.attns:
            q, k, v = attn.headed(x)
            before = q @ k.mT / 2 + before
            found.append((before.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return tuple(found)


@layout(EITHER)
def residual_logits() -> Case:
    module, x = ResidualAttention(), seeded(3, LENGTH)
    one = truth_of(module.attns[0], x, place=lambda out: out[0], replaceable=False)
    q, k, _ = (t.detach() for t in module.attns[0].headed(x))
    two = truth_of(module.attns[1], x, bias=q @ k.mT / 2, place=lambda out: out[1], replaceable=False)
    return Case(module=module, inputs=(x,), truths=[one, two])


class TwoValuesAttention(Projected):
    """The weights meet the values, and then coordinates."""

    def forward(self, x: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.headed(x)
        weights = (q @ k.mT / self.head_dim**0.5).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2), weights @ at[:, None]


@layout(EITHER)
def two_values() -> Case:
    """Zeroing a head takes both of its products, or is refused."""
    module, x, at = TwoValuesAttention(4, 4, called="num_heads"), seeded(3, LENGTH), seeded(3, LENGTH, 3, 9)
    truth = truth_of(module, x)
    truth.value = torch.cat([truth.value, at.double()[:, None].expand(-1, 4, -1, -1)], -1)
    truth.place = lambda out: torch.cat([out[0].unflatten(-1, (4, 4)).transpose(1, 2), out[1]], -1)
    return Case(module=module, inputs=(x, at), truths=[truth])
