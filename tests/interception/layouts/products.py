"""How logits, softmax and the product with values are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tests.interception.layouts.layout import EITHER, MET, Block, Case, Projected, layout, on_itself, seeded, truth_of
from torch import Tensor, nn

Form = Callable[[Tensor, Tensor, Tensor], Tensor]


class FormAttention(Projected):
    """One form of (batch, head, position, dim) attention, the logits scaled already."""

    def __init__(self, form: Form, heads: int, dim: int, kv_heads: int | None = None) -> None:
        super().__init__(heads, dim, called="num_heads", kv_heads=kv_heads)
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return self.form(q / self.head_dim**0.5, k, v).transpose(1, 2).flatten(2)


def operator(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT, -1) @ v


def named_arguments(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = torch.matmul(input=q, other=k.transpose(-1, -2))
    return torch.matmul(input=torch.softmax(input=logits, dim=-1), other=v)


def method(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.matmul(k.transpose(-1, -2)).softmax(dim=3).matmul(v)


def special(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.special.softmax(q @ k.mT, dim=-1) @ v


def module_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return nn.Softmax(dim=-1)(q @ k.mT) @ v


def in_float32(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.softmax(q @ k.mT, dim=-1, dtype=torch.float32).to(q.dtype) @ v


def by_float(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = q @ k.mT
    return F.softmax(logits.float(), dim=-1).type_as(logits) @ v


def through_float64(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The cast makes new memory."""
    return (q @ k.mT).double().softmax(-1).to(v.dtype) @ v


def copied(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).softmax(-1).clone().contiguous() @ v


def multiplied_by_one(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.mT).softmax(-1) * 1.0) @ v


def broadcast_sum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT).softmax(-1)
    return (weights.unsqueeze(-1) * v.unsqueeze(-3)).sum(-2)


def sum_of_logits(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Logits by broadcasting too."""
    return (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1).softmax(-1) @ v


def keys_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(key, query) logits, softmax over the last axis but one, values on the left."""
    weights = (k @ q.mT).softmax(dim=-2)
    return (v.mT @ weights).mT


def transposed_after(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT).softmax(-1).transpose(-2, -1)
    return (v.transpose(-2, -1) @ weights).transpose(-2, -1)


def transposed_twice(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (k @ q.mT).softmax(-2).transpose(-1, -2)
    return torch.matmul(weights, v)


def inner(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """torch.inner, one sequence and head after the other."""
    rows = [
        [torch.inner(torch.inner(q[b, h], k[b, h]).softmax(-1), v[b, h].T) for h in range(q.shape[1])]
        for b in range(len(q))
    ]
    return torch.stack([torch.stack(row) for row in rows])


def batched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    whole = q.shape
    q, k, v = (t.flatten(0, 1) for t in (q, k, v))
    return q.bmm(k.mT).softmax(-1).bmm(v).view(whole)


def added_batched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """baddbmm for the logits and for the output."""
    whole = q.shape
    q, k, v = (t.flatten(0, 1) for t in (q, k, v))
    empty = q.new_empty(len(q), q.shape[1], k.shape[1])
    weights = torch.baddbmm(empty, q, k.mT, beta=0, alpha=1).softmax(-1)
    return torch.baddbmm(torch.zeros_like(q), weights, v).view(whole)


def by_linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """F.linear, whose weight is the transposed values, sequence by sequence and head by head."""
    weights = (q @ k.mT).softmax(-1)
    rows = [torch.stack([F.linear(weights[b, h], v[b, h].T) for h in range(q.shape[1])]) for b in range(len(q))]
    return torch.stack(rows)


def by_tensordot(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT).softmax(-1)
    rows = [
        torch.stack([torch.tensordot(w, u, dims=1) for w, u in zip(ws, us, strict=True)])
        for ws, us in zip(weights, v, strict=True)
    ]
    return torch.stack(rows)


def log_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.log_softmax(q @ k.mT, -1).exp() @ v


def written_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """exp and sum by hand."""
    logits = q @ k.mT
    e = (logits - logits.amax(-1, keepdim=True)).exp()
    return (e / e.sum(-1, keepdim=True)) @ v


def divided_after(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The product of exponentials first, the division after."""
    logits = q @ k.mT
    e = (logits - logits.amax(-1, keepdim=True)).exp()
    return (e @ v) / e.sum(-1, keepdim=True)


def by_logsumexp(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = q @ k.mT
    return torch.exp(logits - torch.logsumexp(logits, -1, keepdim=True)) @ v


def ones_appended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A column of ones beside the values."""
    out = (q @ k.mT).softmax(-1) @ torch.cat([v, torch.ones_like(v[..., :1])], -1)
    return out[..., :-1] / out[..., -1:]


def two_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The weights meet two halves of the values."""
    weights = (q @ k.mT).softmax(-1)
    one, two = v.chunk(2, -1)
    return torch.cat([weights @ one, weights @ two], -1)


def in_place(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The logits are scaled and shifted in place, the weights dropped in place."""
    logits = q @ k.mT
    logits.mul_(2).sub_(logits.amax(-1, keepdim=True)).div_(2)
    return F.dropout(logits.softmax(-1), 0.0, True, True) @ v


def into_given(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """out= arguments."""
    logits = torch.empty(*q.shape[:-1], k.shape[-2])
    torch.matmul(q, k.mT, out=logits)
    out = torch.empty_like(q)
    torch.matmul(logits.softmax(-1), v, out=out)
    return out


def softmax_into_itself(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """torch.softmax(x, out=x) writes the weights over the logits."""
    logits = q @ k.mT
    torch.softmax(logits, dim=-1, out=logits)
    return logits @ v


def copied_over(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The weights are copied into the memory of the logits."""
    logits = q @ k.mT
    logits.copy_(logits.softmax(-1))
    return logits @ v


def by_head_loop(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The softmax at once, the products head by head."""
    weights = (q @ k.mT).softmax(-1)
    return torch.stack([weights[:, h] @ v[:, h] for h in range(q.shape[1])], 1)


SURE = [operator, named_arguments, method, special, module_softmax, in_float32, by_float, copied, batched, in_place]
SURE += [sum_of_logits, keys_first, transposed_after, transposed_twice]
OTHER = [
    broadcast_sum,
    added_batched,
    inner,
    by_linear,
    by_tensordot,
    log_softmax,
    written_softmax,
    divided_after,
    by_logsumexp,
    ones_appended,
]
OTHER += [two_products, into_given, softmax_into_itself, copied_over, by_head_loop, through_float64, multiplied_by_one]
FORMS = {form.__name__: (outcome, form) for outcome, forms in ((MET, SURE), (EITHER, OTHER)) for form in forms}
SIZES: dict[str, dict[str, int]] = {
    "distinct": {"heads": 3, "batch": 2, "length": 12, "dim": 4},
    "all_equal": {"heads": 8, "batch": 8, "length": 8, "dim": 8},
}


@layout(
    MET,
    **{
        f"{name}_{how}": {"form": form, "outcome": outcome, **SIZES[how]}
        for name, (outcome, form) in FORMS.items()
        for how in SIZES
    },
)
def form(form: Form, heads: int, batch: int, length: int, dim: int) -> Case:
    case = on_itself(FormAttention(form, heads, dim), batch, length)
    case.truths[0].replaceable = form is not ones_appended  # nothing divided by nothing
    return case


def expanded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    k, v = (t.expand(-1, q.shape[1], -1, -1) for t in (k, v))
    return (q @ k.mT).softmax(-1) @ v


def broadcast(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).softmax(-1) @ v


def interleaved(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    return (q @ k.mT).softmax(-1) @ v


def expanded_groups(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    k, v = (t[:, :, None].expand(-1, -1, q.shape[1] // t.shape[1], -1, -1).flatten(1, 2) for t in (k, v))
    return (q @ k.mT).softmax(-1) @ v


def repeated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """repeat where repeat_interleave was meant: head ``h`` reads key head ``h % groups``."""
    k, v = (t.repeat(1, q.shape[1] // t.shape[1], 1, 1) for t in (k, v))
    return (q @ k.mT).softmax(-1) @ v


def keys_and_values_apart(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Keys are grouped in one way, values in the other: a bug, and what the module does."""
    groups = q.shape[1] // k.shape[1]
    return (q @ k.repeat_interleave(groups, 1).mT).softmax(-1) @ v.repeat(1, groups, 1, 1)


def five_axes(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(batch, group, member, query, dim) against (batch, group, 1, key, dim)."""
    grouped = q.unflatten(1, (k.shape[1], -1))
    return ((grouped @ k[:, :, None].mT).softmax(-1) @ v[:, :, None]).flatten(1, 2)


def members_as_rows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The members of a group as further query rows, (batch, group, member * query, key)."""
    b, h, n, d = q.shape
    rows = q.reshape(b, k.shape[1], -1, d)
    return ((rows @ k.mT).softmax(-1) @ v).reshape(b, h, n, d)


@layout(
    MET,
    one_expanded={"form": expanded, "kv_heads": 1},
    one_broadcast={"form": broadcast, "kv_heads": 1},
    one_repeated={"form": repeated, "kv_heads": 1},
    two_interleaved={"form": interleaved, "kv_heads": 2},
    two_expanded={"form": expanded_groups, "kv_heads": 2},
    two_repeated={"form": repeated, "kv_heads": 2, "read": [0, 1, 0, 1]},
    two_apart={"form": keys_and_values_apart, "kv_heads": 2},
    two_in_five_axes={"form": five_axes, "kv_heads": 2},
    two_as_rows={"form": members_as_rows, "kv_heads": 2, "outcome": EITHER},
    one_as_rows={"form": members_as_rows, "kv_heads": 1, "outcome": EITHER},
)
def key_heads(form: Form, kv_heads: int, read: list[int] | None = None) -> Case:
    case = on_itself(FormAttention(form, 4, 4, kv_heads), 2, 12, read=read)
    if form is keys_and_values_apart and case.truths[0].value is not None:
        case.truths[0].value = case.truths[0].value[:, [0, 2, 0, 2]]
    return case


class MatMul(nn.Module):
    """A product as a module of its own, so that hooks can see it."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b


class MatMulAttention(Projected):
    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")
        self.matmul1, self.matmul2, self.softmax = MatMul(), MatMul(), nn.Softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        weights = self.softmax(self.matmul1(q, k.transpose(-2, -1)) / 2)
        return self.matmul2(weights, v).transpose(1, 2).flatten(2)


class MaskedSoftmax(nn.Module):
    """A softmax with its causal mask."""

    def forward(self, logits: Tensor) -> Tensor:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        return torch.softmax(logits.masked_fill(later, float("-inf")), dim=-1)


class MaskedSoftmaxAttention(Projected):
    def __init__(self) -> None:
        super().__init__(4, 4, called="n_head")
        self.masked_softmax = MaskedSoftmax()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return (self.masked_softmax(q @ k.mT / 2) @ v).transpose(1, 2).flatten(2)


class ScaledDotProductAttention(nn.Module):
    """The middle part as a module, without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.1)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        attn = self.dropout(F.softmax(torch.matmul(q / q.shape[-1] ** 0.5, k.transpose(-2, -1)), dim=-1))
        return torch.matmul(attn, v), attn


class OuterAttention(Projected):
    """Heads split outside, attention inside; the weights are returned beside the output."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="n_head")
        self.attention = ScaledDotProductAttention()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out, attn = self.attention(*self.headed(x))
        return out.transpose(1, 2).flatten(2), attn


class Scorer(nn.Module):
    """Gives weights; the product with values is its caller's."""

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return F.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)


class ScoredAttention(Projected):
    def __init__(self) -> None:
        super().__init__(4, 4)
        self.scorer = Scorer()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return (self.scorer(q, k) @ v).transpose(1, 2).flatten(2)


def weights_of(q: Tensor, k: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1)


def applied(weights: Tensor, v: Tensor) -> Tensor:
    return (weights @ v).transpose(1, 2).flatten(2)


class FunctionsAttention(Projected):
    """The softmax in one function, the product in another."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return applied(weights_of(q, k), v)


class StoredAttention(Projected):
    """Keeps its weights, detached and as an attribute, before it uses them."""

    kept: Any = None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        attn = weights_of(q, k)
        self.kept = attn.detach().cpu().mean(1)
        assert torch.isfinite(attn).all()
        return applied(attn, v)


@layout(
    MET,
    matmul_modules={"module": MatMulAttention},
    functions={"module": lambda: FunctionsAttention(4, 4)},
    stored={"module": lambda: StoredAttention(4, 4)},
    scorer={"module": ScoredAttention},
)
def in_parts(module: Callable[[], Projected]) -> Case:
    made = module()
    case = on_itself(made, 3, 12)
    return Case(module=Block(made), inputs=case.inputs, truths=case.truths)


@layout(MET)
def in_parts_masked_softmax() -> Case:
    seen = torch.ones(12, 12, dtype=torch.bool).tril()
    return on_itself(MaskedSoftmaxAttention(), 3, 12, seen=seen)


@layout(MET)
def in_parts_middle() -> Case:
    module, x = OuterAttention(), seeded(3, 12)
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x, place=lambda out: out[0])])
