"""Attention in pieces: chunks, windows, axes, caches, memories, steps and latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tests.interception.layouts.layout import (
    CROSS,
    EITHER,
    MET,
    SELF,
    UNKNOWN,
    Case,
    Projected,
    Truth,
    layout,
    seeded,
    truth_of,
)
from torch import Tensor, nn

LENGTH = 24


def seen_causal(length: int = LENGTH) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


class PieceAttention(Projected):
    """A subclass cuts it into pieces."""

    def __init__(self, heads: int = 4, causal: bool = False) -> None:
        super().__init__(heads, 4, called="num_heads")
        self.causal = causal


class QueryChunkAttention(PieceAttention):
    """Four chunks of queries, one softmax each."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        found = []
        for begin in range(0, x.shape[1], 6):
            logits = q[:, :, begin : begin + 6] @ k.mT / self.head_dim**0.5
            if self.causal:
                logits = logits.masked_fill(~seen_causal()[begin : begin + 6], float("-inf"))
            found.append(logits.softmax(-1) @ v)
        return torch.cat(found, 2).transpose(1, 2).flatten(2)


class QueryChunkSdpaAttention(PieceAttention):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        seen = seen_causal() if self.causal else torch.ones(LENGTH, LENGTH, dtype=torch.bool)
        found = [
            F.scaled_dot_product_attention(part, k, v, attn_mask=rows)
            for part, rows in zip(q.split(6, 2), seen.split(6), strict=True)
        ]
        return torch.cat(found, 2).transpose(1, 2).flatten(2)


class HeadChunkAttention(PieceAttention):
    """One head after the other, three axes each."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        found = []
        for head in range(q.shape[1]):
            weights = (q[:, head] @ k[:, head].mT / self.head_dim**0.5).softmax(-1)
            found.append(weights @ v[:, head])
        return torch.cat(found, -1)


class HeadPairAttention(PieceAttention):
    """Two heads at a time, four axes each."""

    def forward(self, x: Tensor) -> Tensor:
        parts = [t.split(2, 1) for t in self.headed(x)]
        found = [(q @ k.mT / self.head_dim**0.5).softmax(-1) @ v for q, k, v in zip(*parts, strict=True)]
        return torch.cat(found, 1).transpose(1, 2).flatten(2)


class SequenceLoopAttention(PieceAttention):
    """One sequence after the other, (head, n, n)."""

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for q, k, v in zip(*self.headed(x), strict=True):
            found.append((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v)
        return torch.stack(found).transpose(1, 2).flatten(2)


class UnevenChunkAttention(PieceAttention):
    """A long chunk and a short rest."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        found = [(part @ k.mT / self.head_dim**0.5).softmax(-1) @ v for part in q.split(17, 2)]
        return torch.cat(found, 2).transpose(1, 2).flatten(2)


def rows_of(whole: Truth, parts: list[slice]) -> list[Truth]:
    """A truth cut into chunks of queries; replacing is judged on the whole alone."""
    found = []
    for part in parts:
        seen, value = whole.visible()[:, :, part], whole.value

        def place(out: Tensor, part: slice = part) -> Tensor:
            return out[:, part]

        found.append(
            Truth(
                weights=whole.weights[:, :, part],
                value=value,
                seen=seen,
                place=place,
                offset=part.start,
                positions=whole.positions,
            )
        )
    return found


def heads_of(whole: Truth, parts: list[slice]) -> list[Truth]:
    """A truth cut by heads."""
    assert whole.value is not None
    return [
        Truth(
            weights=whole.weights[:, part],
            value=whole.value[:, part],
            place=lambda out, part=part: out[..., part.start * 4 : part.stop * 4],
            replaceable=False,
        )
        for part in parts
    ]


FOUR = [slice(begin, begin + 6) for begin in range(0, LENGTH, 6)]


@layout(
    EITHER,
    four={"form": QueryChunkAttention, "parts": FOUR},
    four_causal={"form": QueryChunkAttention, "parts": FOUR, "causal": True},
    four_sdpa={"form": QueryChunkSdpaAttention, "parts": FOUR},
    four_sdpa_causal={"form": QueryChunkSdpaAttention, "parts": FOUR, "causal": True},
    uneven={"form": UnevenChunkAttention, "parts": [slice(0, 17), slice(17, LENGTH)]},
)
def query_chunks(form: type[PieceAttention], parts: list[slice], causal: bool = False) -> Case:
    """All rows in one record of three sequences; or one record a chunk, and each its own rows."""
    module, x = form(causal=causal), seeded(3, LENGTH)
    whole = truth_of(module, x, seen=seen_causal() if causal else None)
    return Case(module=module, inputs=(x,), truths=[whole], others=(rows_of(whole, parts),))


@layout(
    EITHER,
    each={"form": HeadChunkAttention, "batch": 3, "width": 1},
    each_equal={"form": HeadChunkAttention, "batch": 4, "width": 1},
    pairs={"form": HeadPairAttention, "batch": 3, "width": 2},
)
def head_chunks(form: type[PieceAttention], batch: int, width: int) -> Case:
    module, x = form(), seeded(batch, LENGTH)
    whole = truth_of(module, x)
    parts = [slice(begin, begin + width) for begin in range(0, 4, width)]
    return Case(module=module, inputs=(x,), truths=[whole], others=(heads_of(whole, parts),))


@layout(EITHER, distinct={"batch": 3}, equal={"batch": 4})
def sequence_loop(batch: int) -> Case:
    module, x = SequenceLoopAttention(), seeded(batch, LENGTH)
    whole = truth_of(module, x)
    each = [
        truth_of(module, x[b : b + 1], place=lambda out, b=b: out[b : b + 1], replaceable=False) for b in range(batch)
    ]
    return Case(module=module, inputs=(x,), truths=[whole], others=(each,))


class OnlineAttention(PieceAttention):
    """Keys in chunks, a running maximum and sum: no softmax is called."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        top = torch.full((*q.shape[:3], 1), float("-inf"))
        total, out = torch.zeros_like(top), torch.zeros_like(q)
        for begin in range(0, x.shape[1], 8):
            logits = q @ k[:, :, begin : begin + 8].mT / self.head_dim**0.5
            above = torch.maximum(top, logits.amax(-1, keepdim=True))
            e, shrink = (logits - above).exp(), (top - above).exp()
            total, out, top = (
                total * shrink + e.sum(-1, keepdim=True),
                out * shrink + e @ v[:, :, begin : begin + 8],
                above,
            )
        return (out / total).transpose(1, 2).flatten(2)


@layout(EITHER)
def online_softmax() -> Case:
    module, x = OnlineAttention(), seeded(3, LENGTH)
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x)])


class WindowAttention(PieceAttention):
    """Windows of eight tokens folded into the batch."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.headed(x.reshape(b * n // 8, 8, -1))
        out = (q @ k.mT / self.head_dim**0.5).softmax(-1) @ v
        return out.transpose(1, 2).reshape(b, n, -1)


@layout(
    MET,
    distinct={"batch": 3, "heads": 4},
    batch_is_heads={"batch": 2, "heads": 2},
    windows_are_heads={"batch": 1, "heads": 3},
)
def windows_in_batch(batch: int, heads: int) -> Case:
    """Sequences are the windows, or one each with a third of its keys visible to a row."""
    module, x = WindowAttention(heads), seeded(batch, LENGTH)
    folded = truth_of(module, x.reshape(-1, 8, 16), place=lambda out: out.reshape(-1, 8, out.shape[-1]))
    near = torch.arange(LENGTH) // 8
    whole = truth_of(module, x, seen=near[:, None] == near)
    return Case(module=module, inputs=(x,), truths=[folded], others=([whole],))


class SwinAttention(Projected):
    """Rolled 4 x 4 windows of an 8 x 8 image, -100 between regions, a learned bias; called with a mask or without."""

    def __init__(self, hidden: float, sdpa: bool) -> None:
        super().__init__(2, 8, called="num_heads")
        self.hidden, self.sdpa = hidden, sdpa
        self.bias = nn.Parameter(torch.randn(2, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        b = len(x)
        image = x.view(b, 8, 8, 16).roll((-2, -2), (1, 2))
        tokens = image.view(b, 2, 4, 2, 4, 16).transpose(2, 3).reshape(-1, 16, 16)
        q, k, v = self.headed(tokens)
        mask = torch.where(regions(), 0.0, self.hidden).repeat(b, 1, 1)[:, None]
        if self.sdpa:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias + mask)
        else:
            logits = q @ k.mT / self.head_dim**0.5 + self.bias
            logits = logits.view(b, 4, 2, 16, 16) + mask.view(b, 4, 1, 16, 16)
            out = logits.view(-1, 2, 16, 16).softmax(-1) @ v
        return out.transpose(1, 2).reshape(-1, 16, 16)


def regions() -> Tensor:
    """(window, n, n) bool: tokens that lay beside each other before the roll."""
    numbers = torch.zeros(8, 8)
    numbers[6:, :] += 1
    numbers[:, 6:] += 2
    each = numbers.view(2, 4, 2, 4).transpose(1, 2).reshape(4, 16)
    return each[:, :, None] == each[:, None]


@layout(
    MET,
    written={"hidden": -100.0, "sdpa": False, "batch": 3},
    sdpa={"hidden": -100.0, "sdpa": True, "batch": 2},
    inf={"hidden": float("-inf"), "sdpa": False, "batch": 1},
)
def swin(hidden: float, sdpa: bool, batch: int) -> Case:
    """Rows of the last windows see four or eight keys."""
    module, x = SwinAttention(hidden, sdpa), seeded(batch, 64)
    image = x.view(batch, 8, 8, 16).roll((-2, -2), (1, 2))
    tokens = image.view(batch, 2, 4, 2, 4, 16).transpose(2, 3).reshape(-1, 16, 16)
    seen = regions().repeat(batch, 1, 1)[:, None]
    return Case(module=module, inputs=(x,), truths=[truth_of(module, tokens, bias=module.bias, seen=seen)])


class AxialAttention(nn.Module):
    """Rows of an image first, columns after; the axis that is not attended to is in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.row_attn, self.column_attn = PlainAttention(), PlainAttention()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        b, h, w, _ = x.shape
        one = self.row_attn(x.reshape(b * h, w, -1)).view(b, h, w, -1)
        columns = one.transpose(1, 2).reshape(b * w, h, -1)
        return one, self.column_attn(columns).view(b, w, h, -1).transpose(1, 2)


class PlainAttention(PieceAttention):
    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        q, k, v = self.headed(x, source)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET, distinct={"batch": 3, "high": 9, "wide": 11}, square={"batch": 4, "high": 8, "wide": 8})
def axial(batch: int, high: int, wide: int) -> Case:
    module = AxialAttention()
    x = seeded(batch, high * wide).view(batch, high, wide, 16)
    rows = x.reshape(batch * high, wide, 16)
    one = module.row_attn(rows).detach().view(batch, high, wide, 16)
    columns = one.transpose(1, 2).reshape(batch * wide, high, 16)
    truths = [
        truth_of(module.row_attn, rows, place=lambda out: out[0].flatten(0, 1), path="row_attn"),
        truth_of(
            module.column_attn, columns, place=lambda out: out[1].transpose(1, 2).flatten(0, 1), path="column_attn"
        ),
    ]
    return Case(module=module, inputs=(x,), truths=truths)


class MemoryAttention(PieceAttention):
    """Transformer-XL: states of the segment before stand ahead of the keys, and rows are the last positions."""

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        q, k, v = self.headed(x, torch.cat([memory, x], 1))
        n, m = x.shape[1], memory.shape[1]
        seen = torch.ones(n, n + m, dtype=torch.bool).tril(m)
        logits = (q @ k.mT / self.head_dim**0.5).masked_fill(~seen, float("-inf"))
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET, distinct={"memory": 7}, equal={"memory": 12})
def cached_memory(memory: int) -> Case:
    module, x, before = MemoryAttention(), seeded(3, 12), seeded(3, memory, seed=5)
    seen = torch.ones(12, 12 + memory, dtype=torch.bool).tril(memory)
    source = torch.cat([before, x], 1)
    truth = truth_of(module, x, source, seen=seen, positions=SELF, offset=memory)
    return Case(module=module, inputs=(x, before), truths=[truth])


class LearnedMemoryAttention(PieceAttention):
    """Learned keys and values stand before those of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(5, 16))

    def forward(self, x: Tensor) -> Tensor:
        source = torch.cat([self.slots.expand(len(x), -1, -1), x], 1)
        q, k, v = self.headed(x, source)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET)
def learned_memory() -> Case:
    module, x = LearnedMemoryAttention(), seeded(3, 12)
    source = torch.cat([module.slots.detach().expand(3, -1, -1), x], 1)
    return Case(module=module, inputs=(x,), truths=[truth_of(module, x, source, positions=UNKNOWN)])


class SetBlock(Projected):
    """MAB of the Set Transformer: cat of splits, softmax over axis 2, the query added to the output."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q, k, v = (torch.cat(t.split(self.head_dim, 2), 0) for t in self.projected(x, y))
        weights = torch.softmax(q.bmm(k.transpose(1, 2)) / self.head_dim**0.5, 2)
        return torch.cat((weights.bmm(v)).split(x.size(0), 0), 2)


MAB = type("MAB", (SetBlock,), {})


@layout(MET, distinct={"batch": 3, "queries": 10, "keys": 14}, equal={"batch": 4, "queries": 12, "keys": 12})
def set_block(batch: int, queries: int, keys: int) -> Case:
    module = MAB(4, 4, called="num_heads")
    x, y = seeded(batch, queries), seeded(batch, keys, seed=5)
    return Case(module=module, inputs=(x, y), truths=[truth_of(module, x, y)])


class LatentAttention(nn.Module):
    """Perceiver: learned latents look at the input, then at themselves."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, 16))
        self.cross_attn, self.self_attn = PlainAttention(), PlainAttention()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.latents.expand(len(x), -1, -1)
        one = self.cross_attn(latents, x)
        return one, self.self_attn(one)


@layout(MET, distinct={"latents": 9}, equal={"latents": LENGTH})
def perceiver(latents: int) -> Case:
    module, x = LatentAttention(latents), seeded(3, LENGTH)
    fed = module.latents.detach().expand(3, -1, -1)
    one = module(x)[0].detach()
    truths = [
        truth_of(module.cross_attn, fed, x, place=lambda out: out[0], path="cross_attn"),
        truth_of(module.self_attn, one, place=lambda out: out[1], path="self_attn"),
    ]
    return Case(module=module, inputs=(x,), truths=truths)


class StepAttention(Projected):
    """A recurrent decoder that looks at its source once a step, one query each."""

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        found = []
        for step in range(x.shape[1]):
            q, k, v = self.headed(x[:, step : step + 1], source)
            found.append(((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2))
        return torch.cat(found, 1)


@layout(EITHER)
def step_by_step() -> Case:
    """One record of five rows a sequence, or five of one row."""
    module, x, source = StepAttention(4, 4, called="num_heads"), seeded(3, 5), seeded(3, 12, seed=5)
    whole = truth_of(module, x, source, positions=CROSS)
    return Case(
        module=module, inputs=(x, source), truths=[whole], others=(rows_of(whole, [slice(i, i + 1) for i in range(5)]),)
    )
