"""Heads and sequences folded into one axis, and the orders in which they are."""

from __future__ import annotations

import torch
from tests.interception.layouts.layout import (
    EITHER,
    MET,
    Block,
    Case,
    Projected,
    Truth,
    layout,
    on_itself,
    seeded,
    truth_of,
)
from tests.interception.layouts.layout import weights_by_loops as by_loops
from torch import Tensor, nn


class HeadsFirstAttention(Projected):
    """(head * batch, n, d), permuted and reshaped."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (t.permute(2, 0, 1, 3).reshape(-1, n, self.head_dim) for t in self.split(x))
        weights = torch.bmm(q, k.transpose(1, 2)).div(self.head_dim**0.5).softmax(2)
        return torch.bmm(weights, v).view(-1, b, n, self.head_dim).permute(1, 2, 0, 3).flatten(2)


@layout(
    MET,
    distinct={"heads": 4, "batch": 3, "length": 12, "called": "n_head"},
    batch_is_heads={"heads": 4, "batch": 4, "length": 12, "called": "n_head"},
    unnamed={"heads": 3, "batch": 5, "length": 12, "called": None, "outcome": EITHER},
    batch_is_heads_unnamed={"heads": 3, "batch": 3, "length": 12, "called": None, "outcome": EITHER},
    twice_the_heads={"heads": 2, "batch": 4, "length": 10, "called": "num_heads"},
    batch_of_one={"heads": 4, "batch": 1, "length": 12, "called": "num_heads"},
)
def heads_first(heads: int, batch: int, length: int, called: str | None) -> Case:
    return on_itself(HeadsFirstAttention(heads, called=called), batch, length)


class CatSplitAttention(Projected):
    """torch.cat(torch.split(...), dim=0), as written after the first TensorFlow transformers."""

    def forward(self, x: Tensor) -> Tensor:
        b = len(x)
        q, k, v = (torch.cat(torch.split(t, self.head_dim, dim=2), dim=0) for t in self.projected(x))
        logits = torch.matmul(q, k.transpose(1, 2)) / self.head_dim**0.5
        out = torch.matmul(torch.softmax(logits, dim=-1), v)
        return torch.cat(torch.split(out, b, dim=0), dim=2)


@layout(
    MET,
    distinct={"heads": 4, "batch": 3, "called": "num_heads"},
    batch_is_heads={"heads": 4, "batch": 4, "called": "num_heads"},
    unnamed={"heads": 4, "batch": 2, "called": None, "outcome": EITHER},
)
def cat_of_split(heads: int, batch: int, called: str | None) -> Case:
    return on_itself(CatSplitAttention(heads, called=called), batch, 11)


class ChunkCatAttention(Projected):
    """cat of chunks, and back by chunks: the (head * batch) order again."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.cat(t.chunk(self.n_heads, -1)) for t in self.projected(x))
        weights = torch.softmax(q @ k.mT * self.head_dim**-0.5, -1)
        return torch.cat((weights @ v).chunk(self.n_heads), -1)


@layout(MET, distinct={"heads": 2, "batch": 6}, batch_is_heads={"heads": 5, "batch": 5})
def cat_of_chunks(heads: int, batch: int) -> Case:
    return on_itself(ChunkCatAttention(heads, 3, called="n_heads"), batch, 13)


class StackedChunkAttention(Projected):
    """(head, batch, n, d) by stacking chunks."""

    def forward(self, x: Tensor) -> Tensor:
        heads = self.query.out_features // self.head_dim
        q, k, v = (torch.stack(t.chunk(heads, -1)) for t in self.projected(x))
        weights = (q @ k.transpose(-1, -2) / self.head_dim**0.5).softmax(-1)
        return torch.cat(list(weights @ v), -1)


@layout(
    MET,
    distinct={"heads": 4, "batch": 3, "length": 12, "called": "heads"},
    batch_is_heads={"heads": 4, "batch": 4, "length": 12, "called": "heads"},
    unnamed={"heads": 4, "batch": 3, "length": 12, "called": None, "outcome": EITHER},
    all_equal={"heads": 8, "batch": 8, "length": 8, "called": "num_heads"},
)
def stacked_chunks(heads: int, batch: int, length: int, called: str | None) -> Case:
    return on_itself(StackedChunkAttention(heads, called=called), batch, length)


class StackedSecondAttention(Projected):
    """(batch, head, n, d) by stacking chunks along the second axis."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.stack(t.split(self.head_dim, -1), dim=1) for t in self.projected(x))
        weights = (q @ k.transpose(-1, -2) / self.head_dim**0.5).softmax(-1)
        return torch.cat((weights @ v).unbind(1), -1)


@layout(MET)
def stacked_second() -> Case:
    return on_itself(StackedSecondAttention(3, 5), 4, 12)


class BatchFirstAttention(Projected):
    """(batch * head, n, d), the order of the view."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (t.reshape(-1, n, self.head_dim) for t in self.headed(x))
        weights = torch.bmm(q, k.transpose(1, 2)).div(self.head_dim**0.5).softmax(-1)
        return torch.bmm(weights, v).view(b, -1, n, self.head_dim).transpose(1, 2).reshape(b, n, -1)


@layout(
    MET,
    num_heads={"heads": 4, "batch": 3, "called": "num_heads"},
    nhead={"heads": 4, "batch": 3, "called": "nhead"},
    h={"heads": 4, "batch": 3, "called": "h"},
    n_heads={"heads": 2, "batch": 2, "called": "n_heads"},
    unnamed={"heads": 4, "batch": 3, "called": None, "outcome": EITHER},
    one_head={"heads": 1, "batch": 3, "called": "num_heads"},
    one_head_unnamed={"heads": 1, "batch": 4, "called": None},
)
def batch_first(heads: int, batch: int, called: str | None) -> Case:
    return on_itself(BatchFirstAttention(heads, called=called), batch, 12)


class SequenceFirstAttention(Projected):
    """(n, batch, width) -> (n, batch * head, d) -> transposed, as in fairseq."""

    def forward(self, x: Tensor) -> Tensor:
        n, b, _ = x.shape
        heads = self.query.out_features // self.head_dim
        q, k, v = (t.contiguous().view(n, b * heads, self.head_dim).transpose(0, 1) for t in self.projected(x))
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * self.head_dim**-0.5, dim=-1)
        return torch.bmm(weights, v).transpose(0, 1).contiguous().view(n, b, -1)


def transposed(output: Tensor) -> Tensor:
    return output.transpose(0, 1)


@layout(
    MET,
    distinct={"heads": 4, "batch": 3, "length": 12, "called": "num_heads"},
    unnamed={"heads": 4, "batch": 3, "length": 12, "called": None, "outcome": EITHER},
    all_equal={"heads": 8, "batch": 8, "length": 8, "called": "num_heads"},
)
def sequence_first(heads: int, batch: int, length: int, called: str | None) -> Case:
    module, x = SequenceFirstAttention(heads, called=called), seeded(batch, length)
    return Case(module=module, inputs=(x.transpose(0, 1),), truths=[truth_of(module, x, place=transposed)])


class SequenceFirstEinsumAttention(Projected):
    """(n, batch * head, d) left as it is; einsum picks the axes."""

    def forward(self, x: Tensor) -> Tensor:
        n, b, _ = x.shape
        q, k, v = (t.reshape(n, -1, self.head_dim) for t in self.projected(x))
        weights = torch.einsum("nbd,mbd->bnm", q, k).div(self.head_dim**0.5).softmax(-1)
        return torch.einsum("bnm,mbd->nbd", weights, v).reshape(n, b, -1)


@layout(MET, distinct={"batch": 3, "length": 13}, length_is_product={"batch": 3, "length": 12})
def sequence_first_einsum(batch: int, length: int) -> Case:
    module, x = SequenceFirstEinsumAttention(4, called="num_heads"), seeded(batch, length)
    return Case(module=module, inputs=(x.transpose(0, 1),), truths=[truth_of(module, x, place=transposed)])


class HeadsOutsideAttention(Projected):
    """(head, batch, n, d) in four axes."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.permute(2, 0, 1, 3) for t in self.split(x))
        weights = torch.matmul(q, k.transpose(2, 3)).mul(self.head_dim**-0.5).softmax(dim=3)
        return torch.matmul(weights, v).permute(1, 2, 0, 3).flatten(2)


@layout(
    MET,
    distinct={"heads": 4, "batch": 3, "called": "heads"},
    batch_is_heads={"heads": 4, "batch": 4, "called": "heads"},
    unnamed={"heads": 4, "batch": 3, "called": None, "outcome": EITHER},
    batch_is_heads_unnamed={"heads": 4, "batch": 4, "called": None, "outcome": EITHER},
)
def heads_outside(heads: int, batch: int, called: str | None) -> Case:
    module = HeadsOutsideAttention(heads, called=called)
    case = on_itself(module, batch, 12)
    return Case(module=Block(module), inputs=case.inputs, truths=case.truths)


class MisleadingAttention(BatchFirstAttention):
    """Says ``heads`` of something else: the outputs of a classifier on top."""

    def __init__(self) -> None:
        super().__init__(4)
        self.heads = 2


@layout(EITHER)
def misleading_attribute() -> Case:
    return on_itself(MisleadingAttention(), 3, 12)


class InterleavedAttention(Projected):
    """'b n (d h) -> b h n d': the head is the fast axis of the columns."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (t.view(b, n, self.head_dim, self.heads).permute(0, 3, 1, 2) for t in self.projected(x))
        weights = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(-1)
        return (weights @ v).permute(0, 2, 3, 1).reshape(b, n, -1)


@layout(MET, distinct={"heads": 4, "dim": 3}, dim_is_heads={"heads": 4, "dim": 4})
def interleaved_heads(heads: int, dim: int) -> Case:
    module, x = InterleavedAttention(heads, dim, called="heads"), seeded(3, 12)

    def of(linear: nn.Linear) -> Tensor:
        return torch.stack([(x @ linear.weight[h::heads].T + linear.bias[h::heads]) for h in range(heads)], 1).detach()

    weights = by_loops(of(module.query), of(module.key))
    truth = Truth(
        weights=weights,
        value=of(module.value),
        place=lambda out: out.unflatten(-1, (dim, heads)).permute(0, 3, 1, 2),
    )
    return Case(module=module, inputs=(x,), truths=[truth])


class FusedByHeadAttention(nn.Module):
    """One projection, query, key and value beside each other head by head."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads, self.qkv = 4, nn.Linear(16, 60)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).view(b, n, 4, 15).transpose(1, 2).chunk(3, dim=-1)
        weights = (q @ k.transpose(-2, -1)).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(b, n, 20)


@layout(MET)
def fused_by_head() -> Case:
    module, x = FusedByHeadAttention(), seeded(3, 12)
    w, c = module.qkv.weight.double(), module.qkv.bias.double()
    parts = [
        torch.stack([x.double() @ w[h * 15 + p * 5 :][:5].T + c[h * 15 + p * 5 :][:5] for h in range(4)], 1).detach()
        for p in range(3)
    ]
    truth = Truth(weights=by_loops(parts[0], parts[1], scale=1.0), value=parts[2])
    return Case(module=module, inputs=(x,), truths=[truth])


class UnbatchedAttention(Projected):
    """One sequence (n, width): the softmax is (head, n, n), or (n, n) of one head."""

    def forward(self, x: Tensor) -> Tensor:
        if self.query.out_features == self.head_dim:
            q, k, v = self.projected(x)
            return torch.softmax(q @ k.T / self.head_dim**0.5, dim=1) @ v
        q, k, v = (t.unflatten(-1, (-1, self.head_dim)).transpose(0, 1) for t in self.projected(x))
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(0, 1).flatten(1)


@layout(
    EITHER,
    heads={"heads": 4, "called": "num_heads"},
    heads_unnamed={"heads": 4, "called": None, "outcome": EITHER},
    one={"heads": 1, "called": None, "outcome": EITHER},
)
def unbatched(heads: int, called: str | None) -> Case:
    module, x = UnbatchedAttention(heads, called=called), seeded(1, 12)
    truth = truth_of(module, x, place=lambda out: out[None])
    return Case(module=module, inputs=(x[0],), truths=[truth])


class AddedUnbatchedAttention(Projected):
    """One sequence of one head: addmm for the logits and for the output."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.projected(x)
        logits = torch.addmm(torch.zeros(len(x), len(x)), q, k.t(), alpha=self.head_dim**-0.5)
        return torch.addmm(torch.zeros_like(v), logits.softmax(-1), v)


@layout(EITHER)
def added_unbatched() -> Case:
    module, x = AddedUnbatchedAttention(1, 5), seeded(1, 12)
    return Case(module=module, inputs=(x[0],), truths=[truth_of(module, x, place=lambda out: out[None])])


class FlattenedLaterAttention(Projected):
    """Softmax in four axes, product in three."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.headed(x)
        weights = (q @ k.transpose(-2, -1) / self.head_dim**0.5).softmax(-1)
        out = torch.bmm(weights.reshape(-1, n, n), v.reshape(-1, n, self.head_dim))
        return out.view(b, -1, n, self.head_dim).transpose(1, 2).flatten(2)


class UnflattenedLaterAttention(Projected):
    """Softmax in three axes, product in four."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.headed(x)
        weights = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT).div(self.head_dim**0.5).softmax(-1)
        return (weights.view(b, -1, n, n) @ v).transpose(1, 2).flatten(2)


@layout(
    MET,
    later={"kind": FlattenedLaterAttention, "called": None},
    earlier={"kind": UnflattenedLaterAttention, "called": "num_heads"},
    earlier_unnamed={"kind": UnflattenedLaterAttention, "called": None, "outcome": EITHER},
)
def folded_on_one_side(kind: type[Projected], called: str | None) -> Case:
    return on_itself(kind(4, called=called), 3, 12)
