"""Attention by einsum: letters, cases, ellipses, lists of axes, groups of heads, and every order of the axes."""

from __future__ import annotations

import torch
from tests.interception.layouts.layout import EITHER, MET, Case, Projected, layout, on_itself, seeded, truth_of
from torch import Tensor

einsum = torch.einsum

SIZES = {
    "distinct": {"heads": 4, "batch": 3, "length": 12, "dim": 5},
    "batch_is_heads": {"heads": 3, "batch": 3, "length": 12, "dim": 5},
    "heads_are_tokens": {"heads": 9, "batch": 2, "length": 9, "dim": 4},
    "all_equal": {"heads": 8, "batch": 8, "length": 8, "dim": 8},
}
"""Every coincidence of shapes by which axes could be mistaken for each other."""


class LetterAttention(Projected):
    """Two equations over (batch, position, head, dim)."""

    def __init__(self, first: str, second: str, heads: int, dim: int, axis: int = -1) -> None:
        super().__init__(heads, dim)
        self.first, self.second, self.axis, self.num_heads = first, second, axis, heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        weights = (einsum(self.first, q, k) * self.head_dim**-0.5).softmax(dim=self.axis)
        return einsum(self.second, weights, v).flatten(2)


def lettered(first: str, second: str, heads: int, batch: int, length: int, dim: int, axis: int = -1) -> Case:
    return on_itself(LetterAttention(first, second, heads, dim, axis), batch, length)


@layout(MET, **SIZES)
def letters_bqhd(heads: int, batch: int, length: int, dim: int) -> Case:
    return lettered("bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd", heads, batch, length, dim)


@layout(MET, **SIZES)
def letters_bths(heads: int, batch: int, length: int, dim: int) -> Case:
    return lettered("bthd,bshd->bhts", "bhts,bshd->bthd", heads, batch, length, dim)


@layout(MET, **SIZES)
def letters_heads_outside(heads: int, batch: int, length: int, dim: int) -> Case:
    return lettered("bqhd,bkhd->hbqk", "hbqk,bkhd->bqhd", heads, batch, length, dim)


@layout(MET, **SIZES)
def letters_heads_last(heads: int, batch: int, length: int, dim: int) -> Case:
    """(batch, query, key, head) weights, softmax over axis 2."""
    return lettered("bqhd,bkhd->bqkh", "bqkh,bkhd->bqhd", heads, batch, length, dim, 2)


@layout(MET, **SIZES)
def letters_keys_first(heads: int, batch: int, length: int, dim: int) -> Case:
    """(batch, head, key, query) weights, softmax over axis -2."""
    return lettered("bqhd,bkhd->bhkq", "bhkq,bkhd->bqhd", heads, batch, length, dim, -2)


@layout(MET, **SIZES)
def letters_query_head_key(heads: int, batch: int, length: int, dim: int) -> Case:
    """(batch, query, head, key), as in axial code."""
    return lettered("bqhd,bkhd->bqhk", "bqhk,bkhd->bqhd", heads, batch, length, dim)


@layout(MET, distinct=SIZES["distinct"], heads_are_tokens=SIZES["heads_are_tokens"])
def letters_upper_case(heads: int, batch: int, length: int, dim: int) -> Case:
    return lettered("BLHE,BSHE->BHLS", "BHLS,BSHD->BLHD", heads, batch, length, dim)


@layout(MET)
def letters_mixed_case() -> Case:
    """Upper and lower case of one letter are two axes."""
    return lettered("bqhd,bQhd->bhqQ", "bhqQ,bQhd->bqhd", 4, 3, 12, 5)


@layout(MET)
def letters_with_spaces() -> Case:
    return lettered("b i h d , b j h d -> b h i j", "b h i j , b j h d -> b i h d", 4, 3, 12, 5)


class EllipsisAttention(Projected):
    """Leading axes by an ellipsis."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        weights = einsum("...qd,...kd->...qk", q, k).mul(self.head_dim**-0.5).softmax(-1)
        return einsum("...qk,...kd->...qd", weights, v).transpose(1, 2).flatten(2)


class EllipsisInsideAttention(Projected):
    """An ellipsis after the first letter, over (batch, position, head, dim) moved."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.permute(1, 0, 2, 3) for t in self.split(x))
        weights = einsum("q...d,k...d->...qk", q, k).mul(self.head_dim**-0.5).softmax(-1)
        return einsum("...qk,k...d->q...d", weights, v).transpose(0, 1).flatten(2)


class SublistAttention(Projected):
    """Axes as lists of numbers."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        weights = einsum(q, [0, 1, 2, 3], k, [0, 4, 2, 3], [0, 2, 1, 4]).div(self.head_dim**0.5).softmax(-1)
        return einsum(weights, [0, 2, 1, 4], v, [0, 4, 2, 3], [0, 1, 2, 3]).flatten(2)


class ValuesFirstAttention(Projected):
    """The values are the first factor of the product."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        weights = einsum("bkhd,bqhd->bhqk", k, q).div(self.head_dim**0.5).softmax(-1)
        return einsum("bkhd,bhqk->bqhd", v, weights).flatten(2)


class WidthFirstAttention(Projected):
    """(batch, head * dim, position), as 1-D convolutions give it."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.transpose(1, 2).unflatten(1, (-1, self.head_dim)) for t in self.projected(x))
        weights = einsum("bhdi,bhdj->bhij", q, k).div(self.head_dim**0.5).softmax(-1)
        return einsum("bhij,bhdj->bhdi", weights, v).flatten(1, 2).transpose(1, 2)


class FirstByMatmulAttention(Projected):
    """Logits by matmul, the product by einsum straight to (batch, position, head, dim)."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        weights = torch.softmax(q @ k.transpose(2, 3) / self.head_dim**0.5, dim=3)
        return einsum("bhij,bhjd->bihd", weights, v).reshape(*x.shape[:2], -1)


FORMS: dict[str, type[Projected]] = {
    "ellipsis": EllipsisAttention,
    "ellipsis_inside": EllipsisInsideAttention,
    "sublist": SublistAttention,
    "values_first": ValuesFirstAttention,
    "width_first": WidthFirstAttention,
    "matmul_first": FirstByMatmulAttention,
}


@layout(MET, **{f"{name}_{how}": {"form": name, **SIZES[how]} for name in FORMS for how in ("distinct", "all_equal")})
def einsum_form(form: str, heads: int, batch: int, length: int, dim: int) -> Case:
    return on_itself(FORMS[form](heads, dim, called="heads"), batch, length)


class GroupedAttention(Projected):
    """Queries in groups of heads, (batch, position, group, member, dim)."""

    def __init__(self, first: str, second: str, heads: int, kv_heads: int) -> None:
        super().__init__(heads, 4, kv_heads=kv_heads)
        self.first, self.second, self.num_heads, self.num_kv_heads = first, second, heads, kv_heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        q = q.unflatten(2, (self.num_kv_heads, -1))
        weights = (einsum(self.first, q, k) / self.head_dim**0.5).softmax(-1)
        return einsum(self.second, weights, v).flatten(2)


@layout(
    MET,
    distinct={"heads": 6, "kv_heads": 2, "batch": 5},
    square={"heads": 4, "kv_heads": 2, "batch": 2},
    batch_is_groups={"heads": 6, "kv_heads": 3, "batch": 3},
)
def grouped_query(heads: int, kv_heads: int, batch: int) -> Case:
    module = GroupedAttention("bqgrd,bkgd->bgrqk", "bgrqk,bkgd->bqgrd", heads, kv_heads)
    return on_itself(module, batch, 12)


@layout(MET)
def grouped_query_member_first() -> Case:
    """(batch, member, group, query, key): the members stand before the groups."""
    return on_itself(GroupedAttention("bqgrd,bkgd->brgqk", "brgqk,bkgd->bqgrd", 6, 2), 5, 12)


class StridedGroupsAttention(Projected):
    """(member, group) heads: head ``h`` reads key head ``h % groups``."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        q = q.unflatten(2, (-1, k.shape[2]))
        weights = (einsum("bqrgd,bkgd->brgqk", q, k) / self.head_dim**0.5).softmax(-1)
        return einsum("brgqk,bkgd->bqrgd", weights, v).flatten(2)


@layout(MET)
def strided_groups() -> Case:
    module = StridedGroupsAttention(6, 4, kv_heads=2, called="num_heads")
    return on_itself(module, 5, 12, read=[0, 1, 0, 1, 0, 1])


class OneKeyHeadAttention(Projected):
    """One key head for all, left out of the equation."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        weights = (einsum("bqhd,bkd->bhqk", q, k[:, :, 0]) / self.head_dim**0.5).softmax(-1)
        return einsum("bhqk,bkd->bqhd", weights, v[:, :, 0]).flatten(2)


@layout(MET, distinct={"batch": 3}, batch_is_heads={"batch": 4})
def one_key_head(batch: int) -> Case:
    return on_itself(OneKeyHeadAttention(4, 4, kv_heads=1, called="num_heads"), batch, 12)


class FoldedEinsumAttention(Projected):
    """'b i d, b j d -> b i j' over (batch * head), or (head * batch)."""

    def __init__(self, heads: int, outside: bool) -> None:
        super().__init__(heads, 4, called="heads")
        self.outside = outside

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        order = (2, 0, 1, 3) if self.outside else (0, 2, 1, 3)
        q, k, v = (t.permute(order).reshape(-1, n, self.head_dim) for t in self.split(x))
        weights = einsum("b i d, b j d -> b i j", q, k).mul(self.head_dim**-0.5).softmax(dim=-1)
        out = einsum("b i j, b j d -> b i d", weights, v)
        if self.outside:
            return out.view(self.heads, b, n, -1).permute(1, 2, 0, 3).reshape(b, n, -1)
        return out.view(b, self.heads, n, -1).transpose(1, 2).reshape(b, n, -1)


@layout(
    MET,
    batch_outside={"outside": False, "batch": 3},
    heads_outside={"outside": True, "batch": 3},
    batch_outside_equal={"outside": False, "batch": 4},
    heads_outside_equal={"outside": True, "batch": 4},
)
def folded_einsum(outside: bool, batch: int) -> Case:
    return on_itself(FoldedEinsumAttention(4, outside), batch, 13)


class ThreeFactorAttention(Projected):
    """Weights, values and the output projection in one equation."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")
        self.out = torch.nn.Parameter(torch.randn(4, 4, 16))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        weights = (einsum("bqhd,bkhd->bhqk", q, k) / 2).softmax(-1)
        return einsum("bhqk,bkhd,hdm->bqm", weights, v, self.out)


@layout(EITHER)
def three_factors() -> Case:
    case = on_itself(ThreeFactorAttention(), 3, 12)
    case.truths[0].place = None
    return case


class SharedValueAttention(Projected):
    """Every head weighs the same, unsplit values; their mean is what comes out."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, _ = self.split(x)
        weights = (einsum("bqhd,bkhd->bhqk", q, k) / self.head_dim**0.5).softmax(-1)
        return einsum("bhqk,bkm->bqhm", weights, self.value(x)).flatten(2)


@layout(MET)
def shared_values() -> Case:
    module, x = SharedValueAttention(4, 4, called="n_head"), seeded(3, 12)
    truth = truth_of(module, x)
    truth.value = module.value(x).detach()[:, None].expand(-1, 4, -1, -1)
    return Case(module=module, inputs=(x,), truths=[truth])


class RelativeAttention(Projected):
    """A relative term of its own equation is added to the logits."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="heads")
        self.relative = torch.nn.Parameter(torch.randn(12, 12, 4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        logits = einsum("bhid,bhjd->bhij", q, k) + einsum("bhid,ijd->bhij", q, self.relative)
        return einsum("bhij,bhjd->bihd", (logits / 2).softmax(-1), v).flatten(2)


@layout(MET)
def relative_equation() -> Case:
    module, x = RelativeAttention(), seeded(3, 12)
    q = module.headed(x)[0].detach()
    bias = torch.zeros(3, 4, 12, 12)
    for i in range(12):
        for j in range(12):
            bias[:, :, i, j] = (q[:, :, i] * module.relative[i, j].detach()).sum(-1) / 2
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x, bias=bias)])


class PositionFirstAttention(Projected):
    """Transformer-XL: (query, key, batch, head) weights, softmax over axis 1, positions before the batch."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        logits = einsum("ibnd,jbnd->ijbn", q, k) * self.head_dim**-0.5
        later = torch.ones(len(x), len(x), dtype=torch.uint8).triu(1)[:, :, None]
        weights = torch.softmax(logits.float().masked_fill(later.bool()[..., None], -1e30).type_as(logits), dim=1)
        return einsum("ijbn,jbnd->ibnd", weights, v).flatten(2)


@layout(MET, **SIZES)
def position_first(heads: int, batch: int, length: int, dim: int) -> Case:
    module, x = PositionFirstAttention(heads, dim, called="n_head"), seeded(batch, length)
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    truth = truth_of(module, x, seen=seen, place=lambda out: out.transpose(0, 1))
    return Case(module=module, inputs=(x.transpose(0, 1),), truths=[truth])
