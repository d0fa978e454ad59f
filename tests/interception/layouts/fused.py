"""scaled_dot_product_attention and nn.MultiheadAttention, in the shapes and with the masks that they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from tests.interception.layouts.layout import (
    CROSS,
    EITHER,
    LISTED,
    MET,
    Block,
    Case,
    Projected,
    Truth,
    head_by_head,
    layout,
    on_itself,
    seeded,
    truth_of,
)
from tests.interception.layouts.layout import weights_by_loops as by_loops
from torch import Tensor, nn

attend = F.scaled_dot_product_attention
LENGTH = 14


class MergedAttention(Projected):
    """(batch * head, n, d), or (head * batch, n, d)."""

    outside = False

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        order = (2, 0, 1, 3) if self.outside else (0, 2, 1, 3)
        q, k, v = (t.permute(order).reshape(-1, n, self.head_dim) for t in self.split(x))
        out = attend(q, k, v)
        if self.outside:
            return out.view(-1, b, n, self.head_dim).permute(1, 2, 0, 3).flatten(2)
        return out.view(b, -1, n, self.head_dim).transpose(1, 2).flatten(2)


class MergedOutsideAttention(MergedAttention):
    outside = True


NAMES = ("heads", "num_heads", "n_head", "nhead", "h")


@layout(
    MET,
    **{f"named_{name}": {"heads": 4, "batch": 3, "called": name} for name in NAMES},
    batch_is_heads={"heads": 4, "batch": 4, "called": "heads"},
    one_head={"heads": 1, "batch": 4, "called": "num_heads"},
    one_head_unnamed={"heads": 1, "batch": 4, "called": None},
    unnamed={"heads": 4, "batch": 3, "called": None, "outcome": EITHER},
    outside={"heads": 4, "batch": 3, "called": "heads", "form": MergedOutsideAttention},
    outside_equal={"heads": 4, "batch": 4, "called": "heads", "form": MergedOutsideAttention},
    outside_unnamed={"heads": 4, "batch": 3, "called": None, "form": MergedOutsideAttention, "outcome": EITHER},
)
def merged_sdpa(heads: int, batch: int, called: str | None, form: type[Projected] = MergedAttention) -> Case:
    return on_itself(form(heads, called=called), batch, LENGTH)


def causal(batch: int = 1) -> Tensor:
    return torch.ones(batch, LENGTH, LENGTH, dtype=torch.bool).tril()


def varied() -> Tensor:
    """(3, n, n), another window in each sequence."""
    at = torch.arange(LENGTH)
    return torch.stack([(at[:, None] - at).abs() < 9 + 2 * b for b in range(3)])


def finite() -> Tensor:
    return torch.randn(4, LENGTH, LENGTH, generator=torch.Generator().manual_seed(6))


class SdpaAttention(Projected):
    """(batch, head, n, d) with whatever arguments."""

    def __init__(self, heads: int = 4, kv_heads: int | None = None, **given: Any) -> None:
        super().__init__(heads, 4, called="num_heads", kv_heads=kv_heads)
        self.given = given

    def forward(self, x: Tensor) -> Tensor:
        return attend(*self.headed(x), **self.given).transpose(1, 2).flatten(2)


def with_arguments(batch: int = 3, truth: dict[str, Any] | None = None, **given: Any) -> Case:
    return on_itself(SdpaAttention(**given), batch, LENGTH, **(truth or {}))


BIAS, MINUS = torch.zeros(1), float("-inf")


@layout(
    MET,
    plain={},
    scaled={"scale": 1.3, "truth": {"scale": 1.3}},
    causal={"is_causal": True, "truth": {"seen": causal()[None]}},
    mask_2d={"attn_mask": causal()[0], "truth": {"seen": causal()[None]}},
    mask_3d={"batch": 4, "attn_mask": varied()[:1].expand(4, -1, -1), "truth": {"seen": varied()[None, :1]}},
    mask_3d_of_heads={"attn_mask": finite() > -1, "truth": {"seen": (finite() > -1)[None]}},
    mask_4d={"attn_mask": varied()[:, None], "truth": {"seen": varied()[:, None]}},
    mask_float={"attn_mask": torch.where(varied(), 0.0, MINUS)[:, None], "truth": {"seen": varied()[:, None]}},
    mask_smallest={
        "attn_mask": torch.where(varied(), 0.0, torch.finfo(torch.float32).min)[:, None],
        "truth": {"seen": varied()[:, None]},
    },
    mask_100={"attn_mask": torch.where(varied(), 0.0, -100.0)[:, None], "truth": {"seen": varied()[:, None]}},
    mask_1e4={"attn_mask": torch.where(varied(), 0.0, -1e4)[:, None], "truth": {"seen": varied()[:, None]}},
    bias={"attn_mask": finite(), "truth": {"bias": finite()}},
    bias_steep={"attn_mask": finite() * 200, "truth": {"bias": finite() * 200}},
    bias_and_mask={
        "attn_mask": torch.where(causal(), finite(), MINUS),
        "truth": {"bias": finite(), "seen": causal()[None]},
    },
    bias_and_100={
        "attn_mask": torch.where(varied()[:1], finite(), -100.0),
        "truth": {"bias": finite(), "seen": varied()[None, :1]},
    },
    grouped={"heads": 6, "kv_heads": 2, "enable_gqa": True},
    grouped_square={"heads": 4, "kv_heads": 2, "enable_gqa": True, "batch": 2},
)
def sdpa(batch: int = 3, truth: dict[str, Any] | None = None, **given: Any) -> Case:
    return with_arguments(batch, truth, **given)


class ManyAxesAttention(Projected):
    """(batch, window, head, n, d): two leading axes."""

    def forward(self, x: Tensor) -> Tensor:
        b = len(x)
        q, k, v = (t.unflatten(1, (2, -1)).transpose(2, 3) for t in self.split(x))
        return attend(q, k, v).transpose(2, 3).reshape(b, x.shape[1], -1)


def by_windows(out: Tensor) -> Tensor:
    """(batch, n, width) -> (batch * window, n / window, width)."""
    return out.unflatten(1, (2, -1)).flatten(0, 1)


@layout(MET, distinct={"batch": 3}, equal={"batch": 4})
def five_axes_sdpa(batch: int) -> Case:
    module, x = ManyAxesAttention(4, 4, called="num_heads"), seeded(batch, 18)
    truth = truth_of(module, by_windows(x), place=by_windows)
    return Case(module=module, inputs=(x,), truths=[truth])


class ThreeAxesAttention(Projected):
    """One head, three axes, and a mask of three."""

    def __init__(self, mask: Tensor | None, heads: int = 1) -> None:
        super().__init__(heads, 4)
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return attend(*self.projected(x), attn_mask=self.mask)


@layout(
    MET,
    plain={"mask": None},
    mask_2d={"mask": causal()[0]},
    mask_3d={"mask": varied()},
    mask_3d_float={"mask": torch.where(varied(), 0.0, MINUS)},
    mask_3d_of_one={"mask": causal()},
)
def three_axes_sdpa(mask: Tensor | None) -> Case:
    seen = None if mask is None else (mask if mask.dtype == torch.bool else mask == 0)
    seen = None if seen is None else seen.view(-1, 1, LENGTH, LENGTH)
    return on_itself(ThreeAxesAttention(mask), 3, LENGTH, seen=seen)


class ForgottenTransposeAttention(Projected):
    """(batch, n, head, d): the heads of one token attend to each other."""

    def forward(self, x: Tensor) -> Tensor:
        return attend(*self.split(x)).flatten(2)


@layout(LISTED, nine={"heads": 9}, heads_are_tokens={"heads": LENGTH})
def forgotten_transpose_sdpa(heads: int) -> Case:
    """With as many heads as tokens no shape tells; what entered the module does."""
    return Case(module=ForgottenTransposeAttention(heads, 4, called="num_heads"), inputs=(seeded(3, LENGTH),))


class UnbatchedAttention(Projected):
    """(n, width) -> (head, n, d), which looks like (batch, n, d) of one head; or (n, d) of one head."""

    def forward(self, x: Tensor) -> Tensor:
        if self.query.out_features == self.head_dim:
            return attend(*self.projected(x))
        q, k, v = (t.unflatten(-1, (-1, self.head_dim)).transpose(0, 1) for t in self.projected(x))
        return attend(q, k, v).transpose(0, 1).flatten(1)


@layout(
    EITHER,
    named={"heads": 4, "called": "num_heads"},
    unnamed={"heads": 4, "called": None},
    one={"heads": 1, "called": None},
)
def unbatched_sdpa(heads: int, called: str | None) -> Case:
    module, x = UnbatchedAttention(heads, called=called), seeded(1, LENGTH)
    return Case(module=module, inputs=(x[0],), truths=[truth_of(module, x, place=lambda out: out[None])])


class ShorterQueryAttention(Projected):
    """A query of fewer positions under is_causal: query 0 sees key 0 alone, as torch has it."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return attend(*self.headed(x, y), is_causal=True).transpose(1, 2).flatten(2)


@layout(MET)
def causal_of_fewer_queries() -> Case:
    module, x, y = ShorterQueryAttention(4, 4), seeded(3, 10), seeded(3, 18, seed=5)
    seen = torch.ones(10, 18, dtype=torch.bool).tril()
    return Case(module=module, inputs=(x, y), truths=[truth_of(module, x, y, seen=seen, positions="unknown")])


def split_joint(mha: nn.MultiheadAttention, parts: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Query, key and value heads of torch's module, from its own rows."""
    width, found = mha.embed_dim, []
    for index, x in enumerate(parts):
        linear = nn.Linear(width, width)
        if mha.in_proj_weight is not None:
            weight = mha.in_proj_weight[index * width : (index + 1) * width]
        else:
            weight = (mha.q_proj_weight, mha.k_proj_weight, mha.v_proj_weight)[index]
        linear.weight = nn.Parameter(weight.detach())
        linear.bias = nn.Parameter(mha.in_proj_bias[index * width : (index + 1) * width].detach())
        found.append(head_by_head(linear, x, mha.head_dim))
    return found


class TorchAttention(nn.Module):
    """nn.MultiheadAttention with its output projection taken out, so that columns are heads."""

    def __init__(self, heads: int = 4, **given: Any) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(16, heads, **given)
        with torch.no_grad():
            for weight in (self.self_attn.in_proj_weight, self.self_attn.q_proj_weight):
                if weight is not None:
                    weight.mul_(3)
            self.self_attn.in_proj_bias.normal_()
            self.self_attn.out_proj.weight.copy_(torch.eye(16))

    def forward(self, query: Tensor, key: Tensor | None = None, **given: Any) -> Tensor:
        key = query if key is None else key
        return self.self_attn(query, key, key, **given)[0]


def multihead(
    mha: dict[str, Any],
    inputs: tuple[Tensor, ...],
    given: dict[str, Any] | None = None,
    batch_first: bool = True,
    **truth: Any,
) -> Case:
    """One case of torch's module; inputs are ``(batch, n, width)`` here, whatever the module takes."""
    module = TorchAttention(batch_first=batch_first, **mha)
    source = inputs[-1]
    q, k, v = split_joint(module.self_attn, (inputs[0], source, source))
    read = truth.pop("rules", {})
    weights = by_loops(q, k, **read)
    seen = read.get("seen")
    truth.setdefault("seen", None if seen is None else seen.expand(weights.shape))
    truth.setdefault("positions", CROSS if len(inputs) > 1 else "self")
    place: Callable[[Any], Tensor] = (lambda out: out) if batch_first else (lambda out: out.transpose(0, 1))
    fed = [x if batch_first else x.transpose(0, 1) for x in inputs]
    named = dict(zip(("query", "key"), fed, strict=False)) | (given or {})
    return Case(module=module, inputs=named, truths=[Truth(weights=weights, value=v, place=place, **truth)])


REAL = torch.arange(LENGTH) < torch.tensor([14, 9, 12])[:, None]
PADDED = {"seen": REAL[:, None, None]}
PADDED_SEEN = (REAL[:, None, None] & REAL[:, None, :, None]).expand(3, 4, -1, -1)
SELF_CAUSAL = {"attn_mask": ~causal()[0], "need_weights": False}


@layout(
    MET,
    plain={"mha": {}},
    unweighted={"mha": {}, "given": {"need_weights": False}},
    position_first={"mha": {}, "batch_first": False},
    causal={"mha": {}, "given": SELF_CAUSAL, "rules": {"seen": causal()[0]}},
    causal_weights={"mha": {}, "given": {"attn_mask": ~causal()[0]}, "rules": {"seen": causal()[0]}},
    padded={"mha": {}, "given": {"key_padding_mask": ~REAL}, "rules": PADDED, "seen": PADDED_SEEN},
    padded_position_first={
        "mha": {},
        "batch_first": False,
        "given": {"key_padding_mask": ~REAL, "need_weights": False},
        "rules": PADDED,
        "seen": PADDED_SEEN,
    },
    bias_of_heads={
        "mha": {},
        "given": {"attn_mask": finite().repeat(3, 1, 1)},
        "rules": {"bias": finite()},
    },
    mask_100={
        "mha": {},
        "given": {"attn_mask": torch.where(varied()[0], 0.0, -100.0)},
        "rules": {"seen": varied()[0]},
    },
    cross={"mha": {}, "inputs": (seeded(3, LENGTH), seeded(3, 11, seed=5))},
    cross_equal={"mha": {}, "inputs": (seeded(3, LENGTH), seeded(3, LENGTH, seed=5))},
    cross_equal_unweighted={
        "mha": {},
        "inputs": (seeded(3, LENGTH), seeded(3, LENGTH, seed=5)),
        "given": {"need_weights": False},
    },
    cross_padded={
        "mha": {},
        "inputs": (seeded(3, 10), seeded(3, LENGTH, seed=5)),
        "given": {"key_padding_mask": ~REAL},
        "rules": PADDED,
    },
    batch_is_axis_0={"mha": {}, "batch_first": False, "inputs": (seeded(3, 4),), "outcome": EITHER},
)
def torch_multihead(
    mha: dict[str, Any],
    inputs: tuple[Tensor, ...] | None = None,
    given: dict[str, Any] | None = None,
    batch_first: bool = True,
    **truth: Any,
) -> Case:
    return multihead(mha, (seeded(3, LENGTH),) if inputs is None else inputs, given, batch_first, **truth)


@layout(EITHER, bias_kv={"name": "add_bias_kv"}, zero={"name": "add_zero_attn"})
def torch_appended(name: str) -> Case:
    """A key is appended: a learned one, or one of zeros."""
    x = seeded(3, LENGTH)
    case = multihead({name: True}, (x,))
    mha = case.module.self_attn
    q, k, v = split_joint(mha, (x, x, x))
    for index, given in enumerate((mha.bias_k, mha.bias_v)):
        more = torch.zeros(16) if given is None else given.detach().flatten()
        more = more.double().view(1, 4, 1, 4).expand(3, -1, -1, -1)
        k, v = (torch.cat([k, more], 2), v) if index == 0 else (k, torch.cat([v, more], 2))
    truth = Truth(weights=by_loops(q, k), value=v)
    return Case(module=case.module, inputs=(x,), truths=[truth])


@layout(MET)
def wrong_batch_first() -> Case:
    """(batch, n, width) into a module that takes (n, batch, width): tokens of other sequences are attended to."""
    module, x = TorchAttention(), seeded(9, 5)
    q, k, v = split_joint(module.self_attn, (x.transpose(0, 1),) * 3)
    truth = Truth(weights=by_loops(q, k), value=v, place=lambda out: out.transpose(0, 1))
    return Case(module=Block(module), inputs=(x,), truths=[truth])
