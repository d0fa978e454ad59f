"""Neighbourhoods, pairs, tied rows, graphs, and weights that several layers share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tests.interception.layouts.layout import (
    EITHER,
    LISTED,
    MET,
    Case,
    Projected,
    Truth,
    head_by_head,
    layout,
    seeded,
    truth_of,
)
from tests.interception.layouts.layout import weights_by_loops as by_loops
from torch import Tensor, nn

LENGTH, REACH = 12, 4


def near(length: int = LENGTH) -> Tensor:
    at = torch.arange(length)
    return (at[:, None] - at).abs() <= REACH


class NeighbourAttention(Projected):
    """Keys and values are unfolded: (batch, head, query, neighbour), those outside are hidden."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        k, v = (F.pad(t, (0, 0, REACH, REACH)).unfold(2, 2 * REACH + 1, 1).transpose(-1, -2) for t in (k, v))
        logits = torch.einsum("bhnd,bhnwd->bhnw", q, k) / self.head_dim**0.5
        at = torch.arange(x.shape[1])[:, None] + torch.arange(-REACH, REACH + 1)
        logits = logits.masked_fill((at < 0) | (at >= x.shape[1]), float("-inf"))
        return torch.einsum("bhnw,bhnwd->bhnd", logits.softmax(-1), v).transpose(1, 2).flatten(2)


class NeighbourProductAttention(NeighbourAttention):
    """The same by products of (1, w) and (w, d)."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        k, v = (F.pad(t, (0, 0, REACH, REACH)).unfold(2, 2 * REACH + 1, 1) for t in (k, v))
        logits = (q[..., None, :] @ k / self.head_dim**0.5)[..., 0, :]
        at = torch.arange(x.shape[1])[:, None] + torch.arange(-REACH, REACH + 1)
        weights = logits.masked_fill((at < 0) | (at >= x.shape[1]), float("-inf")).softmax(-1)
        return (weights[..., None, :] @ v.mT)[..., 0, :].transpose(1, 2).flatten(2)


@layout(
    EITHER,
    einsum={"form": NeighbourAttention, "length": LENGTH},
    product={"form": NeighbourProductAttention, "length": LENGTH},
    as_many_as_tokens={"form": NeighbourAttention, "length": 2 * REACH + 1},
)
def neighbours(form: type[Projected], length: int) -> Case:
    """The last axis is a place near the query, no key: masses by key are wrong as it stands."""
    module, x = form(4, 4, called="num_heads"), seeded(3, length)
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x, seen=near(length))])


class PairAttention(Projected):
    """Triangle attention of a pair representation: (batch, row, head, query, key) with a bias of the pairs."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")
        self.bias = nn.Linear(16, 4, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (4, 4)).movedim(-2, -3) for t in (self.query(z), self.key(z), self.value(z)))
        bias = self.bias(z).permute(0, 3, 1, 2)[:, None]
        return ((q @ k.mT / 2 + bias).softmax(-1) @ v).movedim(-3, -2).flatten(-2)


@layout(EITHER, distinct={"batch": 3, "rows": 9}, heads_are_rows={"batch": 2, "rows": 8})
def pairs(batch: int, rows: int) -> Case:
    """Each row of pairs is a sequence."""
    module = PairAttention()
    z = seeded(batch, rows * rows).view(batch, rows, rows, 16)
    bias = module.bias(z).detach().permute(0, 3, 1, 2)[:, None].expand(-1, rows, -1, -1, -1).flatten(0, 1)
    truth = truth_of(module, z.flatten(0, 1), bias=bias, place=lambda out: out.flatten(0, 1))
    return Case(module=module, inputs=(z,), truths=[truth])


class TiedAttention(Projected):
    """An alignment: logits are summed over its rows, and all rows use one set of weights."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        logits = torch.einsum("rihd,rjhd->hij", q, k) / (self.head_dim * len(x)) ** 0.5
        return torch.einsum("hij,rjhd->rihd", logits.softmax(-1), v).flatten(2)


@layout(EITHER, distinct={"rows": 3}, rows_are_heads={"rows": 4})
def tied_rows(rows: int) -> Case:
    """One sequence, whose values are those of all rows beside each other; or as many alike."""
    module, x = TiedAttention(4, 4, called="num_heads"), seeded(rows, LENGTH)
    q, k, v = (head_by_head(linear, x, 4) for linear in (module.query, module.key, module.value))
    bias = sum(q[r] @ k[r].mT for r in range(rows)) / (4 * rows) ** 0.5
    nothing = torch.zeros(1, 4, LENGTH, 1, dtype=torch.float64)
    one = by_loops(nothing, nothing, bias=bias)  # type: ignore[arg-type]
    together = Truth(
        weights=one,
        value=v.permute(1, 2, 0, 3).flatten(2)[None],
        place=lambda out: out.unflatten(-1, (4, 4)).permute(2, 1, 0, 3).flatten(2)[None],
    )
    apart = Truth(weights=one.expand(rows, -1, -1, -1), value=v)
    return Case(module=module, inputs=(x,), truths=[together], others=([apart],))


class GraphAttention(nn.Module):
    """One graph: logits of pairs by two vectors, a mask of edges, softmax over axis 1, (n, n) or (n, n, head)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.W, self.heads = nn.Linear(16, 4 * heads, bias=False), heads
        self.a = nn.Parameter(torch.randn(2, heads, 4))

    def forward(self, h: Tensor, adj: Tensor) -> Tensor:
        z = self.W(h).unflatten(-1, (self.heads, 4))
        one, two = (z * self.a[0]).sum(-1), (z * self.a[1]).sum(-1)
        e = F.leaky_relu(one[:, None] + two[None], 0.2)
        attention = torch.where(adj[..., None] > 0, e, torch.tensor(-9e15)).softmax(dim=1)
        if self.heads == 1:
            return attention[..., 0] @ z[:, 0]
        return torch.einsum("ijh,jhd->ihd", attention, z).flatten(1)


@layout(EITHER, one={"heads": 1}, four={"heads": 4})
def graph(heads: int) -> Case:
    module, h = GraphAttention(heads), seeded(1, 16)[0]
    adj = (torch.rand(16, 16, generator=torch.Generator().manual_seed(4)) < 0.7) | torch.eye(16, dtype=torch.bool)
    z = module.W(h).detach().unflatten(-1, (heads, 4))
    bias = torch.zeros(1, heads, 16, 16)
    for i in range(16):
        for j in range(16):
            bias[0, :, i, j] = F.leaky_relu((z[i] * module.a[0]).sum(-1) + (z[j] * module.a[1]).sum(-1), 0.2).detach()
    nothing = torch.zeros(1, heads, 16, 1)
    weights = by_loops(nothing, nothing, bias=bias, seen=adj)
    value = z.transpose(0, 1)[None]
    truth = Truth(weights=weights, value=value, seen=adj.expand_as(weights), place=lambda out: out[None])
    return Case(module=module, inputs=(h, adj.long()), truths=[truth])


class SampledAttention(Projected):
    """Deformable: a softmax over nine sampled places, which no keys take part in."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")
        self.places, self.shares = nn.Linear(16, 36), nn.Linear(16, 36)

    def forward(self, x: Tensor) -> Tensor:
        v = self.headed(x)[2]
        at = self.places(x).sigmoid().unflatten(-1, (4, 9)).transpose(1, 2) * (x.shape[1] - 1)
        index = at.round().long().flatten(2)[..., None].expand(-1, -1, -1, 4)
        sampled = v.gather(2, index).unflatten(2, (x.shape[1], 9))
        weights = self.shares(x).unflatten(-1, (4, 9)).transpose(1, 2).softmax(-1)
        return torch.einsum("bhnp,bhnpd->bhnd", weights, sampled).transpose(1, 2).flatten(2)


@layout(LISTED, distinct={"length": LENGTH}, as_many_as_tokens={"length": 9})
def sampled_places(length: int) -> Case:
    return Case(module=SampledAttention(), inputs=(seeded(3, length),))


class WeightsAttention(Projected):
    """Gives its weights; values are others'."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, _ = self.headed(x)
        return (q @ k.mT / self.head_dim**0.5).softmax(-1)


class ValueLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Linear(16, 16)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return (weights @ self.value(x).unflatten(-1, (4, 4)).transpose(1, 2)).transpose(1, 2).flatten(2)


class LazyLayers(nn.Module):
    """The weights are made once, and three layers use them."""

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.layers = (
            WeightsAttention(4, 4, called="num_heads"),
            nn.ModuleList(ValueLayer() for _ in range(3)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        weights = self.attn(x)
        return tuple(layer(x, weights) for layer in self.layers)


@layout(EITHER)
def weights_of_three_layers() -> Case:
    """Met once, wherever that is, or once a layer."""
    module, x = LazyLayers(), seeded(3, LENGTH)
    once = [truth_of(module.attn, x, place=None)]
    each = [truth_of(module.attn, x, place=None) for _ in range(3)]
    return Case(module=module, inputs=(x,), truths=once, others=(each,), proved=False)


class LearnedQueryAttention(Projected):
    """One learned query a head pools the tokens."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")
        self.seed = nn.Parameter(torch.randn(1, 1, 16))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(self.seed.expand(len(x), -1, -1), x)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


class ClassAttention(Projected):
    """The first token alone looks at all."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x[:, :1], x)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET, distinct={"batch": 3}, batch_is_heads={"batch": 4})
def learned_query(batch: int) -> Case:
    module, x = LearnedQueryAttention(), seeded(batch, LENGTH)
    return Case(module=module, inputs=(x,), truths=[truth_of(module, module.seed.expand(batch, -1, -1), x)])


@layout(MET)
def class_token() -> Case:
    """The query is a token of the sequence, not its last: its own mass is by position 0 or null."""
    module, x = ClassAttention(4, 4, called="num_heads"), seeded(3, LENGTH)
    truth = truth_of(module, x[:, :1], x, positions="self", offset=0)
    return Case(module=module, inputs=(x,), truths=[truth])
