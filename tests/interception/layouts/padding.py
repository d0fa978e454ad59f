"""Padded batches: masks by every name, in every container, and masks that are of something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from tests.interception.layouts.layout import CROSS, EITHER, MET, Case, Projected, Truth, layout, seeded, truth_of
from torch import Tensor, nn

LENGTH = 20
SIZES = (20, 11, 14)


def right(sizes: tuple[int, ...] = SIZES, length: int = LENGTH) -> Tensor:
    """``(batch, length)`` bool, True at real positions, padding at the end."""
    return torch.arange(length) < torch.tensor(sizes)[:, None]


def left(sizes: tuple[int, ...] = SIZES) -> Tensor:
    return right(sizes).flip(1)


def scattered() -> Tensor:
    real = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(1)) < 0.7
    real[0] = True
    return real


class PaddedAttention(Projected):
    """Hides padded keys by a ``(batch, key)`` bool, True at real ones; None hides nothing."""

    def __init__(self, causal: bool = False, sdpa: bool = False) -> None:
        super().__init__(4, 4, called="num_heads")
        self.causal, self.sdpa = causal, sdpa

    def forward(self, x: Tensor, real: Tensor | None = None, source: Tensor | None = None) -> Tensor:
        q, k, v = self.headed(x, source)
        seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)[None, None]
        if self.causal:
            seen = seen.tril()
        if real is not None:
            seen = seen & real[:, None, None]
        if self.sdpa:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        logits = (q @ k.mT / self.head_dim**0.5).masked_fill(~seen, torch.finfo(q.dtype).min)
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


def rules(real: Tensor | None, causal: bool = False, keys: int = LENGTH) -> Tensor | None:
    seen = torch.ones(keys, keys, dtype=torch.bool)[None, None]
    seen = seen.tril() if causal else seen
    return seen if real is None else seen & real[:, None, None]


class Wrapper(nn.Module):
    """A model around one attention; a subclass says how the mask comes in."""

    def __init__(self, causal: bool = False, sdpa: bool = False) -> None:
        super().__init__()
        self.attn = PaddedAttention(causal, sdpa)
        self.embedding = nn.Embedding(50, 16)


class NamedMask(Wrapper):
    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.attn(x, None if attention_mask is None else attention_mask.bool())


class PositionalMask(Wrapper):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.attn(x, mask.bool())


class Inverted(Wrapper):
    """True at padding, as torch's key_padding_mask."""

    def forward(self, x: Tensor, key_padding_mask: Tensor) -> Tensor:
        return self.attn(x, ~key_padding_mask)


class InDict(Wrapper):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.attn(batch["x"], batch["attention_mask"] > 0)


@dataclass
class Batch:
    x: Tensor
    mask: Tensor


class InDataclass(Wrapper):
    def forward(self, batch: Batch) -> Tensor:
        return self.attn(batch.x, batch.mask)


class Pair(NamedTuple):
    x: Tensor
    mask: Tensor


class InTuple(Wrapper):
    def forward(self, batch: Pair) -> Tensor:
        return self.attn(batch.x, batch.mask)


class Lengths(Wrapper):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.attn(x, torch.arange(x.shape[1]) < lengths[:, None])


class FromIds(Wrapper):
    """Padding is where ids are 0; nothing is passed in."""

    def forward(self, ids: Tensor) -> Tensor:
        return self.attn(self.embedding(ids), ids != 0)


class FourAxes(Wrapper):
    """(batch, 1, 1, key), additive."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return self.attn(x, attention_mask[:, 0, 0] == 0)


class Ignored(Wrapper):
    """Takes a mask and hides nothing by it."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return self.attn(x)


Wrapped = Callable[..., Wrapper]


def inputs_of(wrapper: type[Wrapper], x: Tensor, real: Tensor, ids: Tensor) -> Any:
    given: dict[type[Wrapper], Any] = {
        NamedMask: {"x": x, "attention_mask": real.long()},
        PositionalMask: (x, real.float()),
        Inverted: {"x": x, "key_padding_mask": ~real},
        InDict: ({"x": x, "attention_mask": real.long()},),
        InDataclass: (Batch(x, real),),
        InTuple: (Pair(x, real),),
        Lengths: (x, real.sum(1)),
        FromIds: (ids,),
        FourAxes: (x, torch.where(real, 0.0, torch.finfo(x.dtype).min)[:, None, None]),
        Ignored: (x, real.long()),
    }
    return given[wrapper]


def padded(wrapper: type[Wrapper], real: Tensor, causal: bool = False, sdpa: bool = False) -> Case:
    module, x = wrapper(causal, sdpa), seeded(len(real), LENGTH)
    ids = torch.randint(1, 50, real.shape, generator=torch.Generator().manual_seed(3)).masked_fill(~real, 0)
    if wrapper is FromIds:
        x = module.embedding(ids).detach()
    hidden = None if wrapper is Ignored else real
    truth = truth_of(module.attn, x, seen=rules(hidden, causal), real=real)
    return Case(module=module, inputs=inputs_of(wrapper, x, real, ids), truths=[truth])


WRAPPERS = (NamedMask, PositionalMask, Inverted, InDict, InDataclass, InTuple, Lengths, FromIds, FourAxes)
CARRIERS = {wrapper.__name__.lower(): wrapper for wrapper in WRAPPERS}


@layout(
    MET,
    **{f"{name}_right": {"wrapper": w, "real": right} for name, w in CARRIERS.items()},
    **{f"{name}_left": {"wrapper": w, "real": left} for name, w in CARRIERS.items() if w is not Lengths},
    namedmask_scattered={"wrapper": NamedMask, "real": scattered},
    lengths_sdpa={"wrapper": Lengths, "real": right, "sdpa": True},
    fromids_sdpa={"wrapper": FromIds, "real": left, "sdpa": True},
    indict_causal={"wrapper": InDict, "real": right, "causal": True},
    fromids_causal_left={"wrapper": FromIds, "real": left, "causal": True},
    lengths_causal_sdpa={"wrapper": Lengths, "real": right, "causal": True, "sdpa": True},
    ignored_causal={"wrapper": Ignored, "real": right, "causal": True},
    ignored_causal_sdpa={"wrapper": Ignored, "real": right, "causal": True, "sdpa": True},
)
def padding(wrapper: type[Wrapper], real: Callable[[], Tensor], causal: bool = False, sdpa: bool = False) -> Case:
    return padded(wrapper, real(), causal, sdpa)


@layout(EITHER, right={"real": right}, left={"real": left})
def ignored_everywhere(real: Callable[[], Tensor]) -> Case:
    """The model does see its padded keys, whatever it was given; its real rows, or all, are its own."""
    case = padded(Ignored, real())
    whole = truth_of(case.module.attn, case.inputs[0])  # type: ignore[arg-type]
    return Case(module=case.module, inputs=case.inputs, truths=case.truths, others=([whole],))


class Crossing(nn.Module):
    """A source, a target, and a target that looks at the source; each of its own padding."""

    def __init__(self, sdpa: bool = False) -> None:
        super().__init__()
        self.source_attn = PaddedAttention(sdpa=sdpa)
        self.target_attn = PaddedAttention(causal=True, sdpa=sdpa)
        self.cross_attn = PaddedAttention(sdpa=sdpa)

    def forward(self, src: Tensor, tgt: Tensor, src_mask: Tensor, tgt_mask: Tensor | None) -> tuple[Tensor, ...]:
        one = self.source_attn(src, src_mask)
        two = self.target_attn(tgt, tgt_mask)
        return one, two, self.cross_attn(tgt, src_mask, src)


@layout(
    MET,
    distinct={"length": 17, "sizes": (17, 13, 15)},
    one_length={"length": LENGTH, "sizes": (20, 12, 16)},
    one_length_sdpa={"length": LENGTH, "sizes": (20, 12, 16), "sdpa": True},
    same_masks={"length": LENGTH, "sizes": SIZES},
)
def crossing(length: int, sizes: tuple[int, ...], sdpa: bool = False) -> Case:
    """Rows of the padded target see real keys: they are not judged where its padding is known."""
    module, src, tgt = Crossing(sdpa), seeded(3, LENGTH), seeded(3, length, seed=5)
    one, two = right(), right(sizes, length)
    truths = [
        truth_of(module.source_attn, src, seen=rules(one), real=one, place=lambda out: out[0], path="source_attn"),
        truth_of(
            module.target_attn,
            tgt,
            seen=rules(two, True, length),
            real=two,
            place=lambda out: out[1],
            path="target_attn",
        ),
        truth_of(
            module.cross_attn, tgt, src, seen=one[:, None, None], real=two, place=lambda out: out[2], path="cross_attn"
        ),
    ]
    whole = [truth_of(module.cross_attn, tgt, src, seen=one[:, None, None], place=lambda out: out[2])]
    return Case(module=module, inputs=(src, tgt, one, two), truths=truths, others=(truths[:2] + whole,))


class SourceMaskOnly(nn.Module):
    """``attention_mask`` is the source's; the decoder is of the same length and has no padding."""

    def __init__(self, sdpa: bool) -> None:
        super().__init__()
        self.encoder_attn = PaddedAttention(sdpa=sdpa)
        self.decoder_attn = PaddedAttention(causal=True, sdpa=sdpa)
        self.cross_attn = PaddedAttention(sdpa=sdpa)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        real = attention_mask.bool()
        memory = self.encoder_attn(input_ids, real)
        return memory, self.decoder_attn(labels), self.cross_attn(labels, real, input_ids)


@layout(MET, written={"sdpa": False}, sdpa={"sdpa": True})
def source_mask_only(sdpa: bool) -> Case:
    module, src, tgt, real = SourceMaskOnly(sdpa), seeded(3, LENGTH), seeded(3, LENGTH, seed=5), right()
    truths = [
        truth_of(module.encoder_attn, src, seen=rules(real), real=real, place=lambda out: out[0], path="encoder_attn"),
        truth_of(module.decoder_attn, tgt, seen=rules(None, True), place=lambda out: out[1], path="decoder_attn"),
        truth_of(module.cross_attn, tgt, src, seen=real[:, None, None], place=lambda out: out[2], path="cross_attn"),
    ]
    return Case(module=module, inputs=(src, real.long(), tgt), truths=truths)


class TwoTowers(nn.Module):
    """A text with padding and an image of as many patches."""

    def __init__(self, sdpa: bool) -> None:
        super().__init__()
        self.image_attn, self.text_attn = PaddedAttention(sdpa=sdpa), PaddedAttention(sdpa=sdpa)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        return self.image_attn(pixel_values), self.text_attn(input_ids, attention_mask.bool())


@layout(MET, written={"sdpa": False}, sdpa={"sdpa": True})
def two_towers(sdpa: bool) -> Case:
    module, image, text, real = TwoTowers(sdpa), seeded(3, LENGTH), seeded(3, LENGTH, seed=5), right()
    truths = [
        truth_of(module.image_attn, image, place=lambda out: out[0], path="image_attn"),
        truth_of(module.text_attn, text, seen=rules(real), real=real, place=lambda out: out[1], path="text_attn"),
    ]
    return Case(module=module, inputs=(text, real.long(), image), truths=truths)


class Pooled(nn.Module):
    """Pairs of tokens are averaged before the second attention, and so is the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.first_attn, self.second_attn = PaddedAttention(), PaddedAttention()

    def forward(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        real = attention_mask.bool()
        one = self.first_attn(x, real)
        pooled = x.unflatten(1, (-1, 2)).mean(2)
        return one, self.second_attn(pooled, real.unflatten(1, (-1, 2)).any(2))


@layout(MET)
def pooled_tokens() -> Case:
    module, x, real = Pooled(), seeded(3, LENGTH), right((20, 16, 18))
    half, some = x.unflatten(1, (-1, 2)).mean(2), real.unflatten(1, (-1, 2)).any(2)
    truths = [
        truth_of(module.first_attn, x, seen=rules(real), real=real, place=lambda out: out[0], path="first_attn"),
        truth_of(
            module.second_attn, half, seen=rules(some, keys=10), real=some, place=lambda out: out[1], path="second_attn"
        ),
    ]
    return Case(module=module, inputs=(x, real.long()), truths=truths)


class Prefixed(Wrapper):
    """Three learned vectors stand before the tokens; the mask is the tokens' alone."""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = nn.Parameter(torch.randn(3, 16))

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        whole = torch.cat([self.prefix.expand(len(x), -1, -1), x], 1)
        return self.attn(whole, F.pad(attention_mask.bool(), (3, 0), value=True))


@layout(MET)
def prefixed() -> Case:
    module, x, real = Prefixed(), seeded(3, LENGTH), right()
    whole = torch.cat([module.prefix.detach().expand(3, -1, -1), x], 1)
    longer = F.pad(real, (3, 0), value=True)
    truth = truth_of(module.attn, whole, seen=rules(longer, keys=23), real=longer)
    return Case(module=module, inputs=(x, real.long()), truths=[truth])


class TwoLayers(nn.Module):
    """The first attention masks, the second forgot to."""

    def __init__(self) -> None:
        super().__init__()
        self.first_attn, self.second_attn = PaddedAttention(), PaddedAttention()

    def forward(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.first_attn(x, attention_mask.bool()), self.second_attn(x)


@layout(EITHER)
def second_layer_forgets() -> Case:
    module, x, real = TwoLayers(), seeded(3, LENGTH), right()
    one = truth_of(module.first_attn, x, seen=rules(real), real=real, place=lambda out: out[0], path="first_attn")
    two: list[Truth] = [
        truth_of(module.second_attn, x, real=only, place=lambda out: out[1], path="second_attn")
        for only in (real, None)
    ]
    inputs = (x, real.long())
    return Case(module=module, inputs=inputs, truths=[one, two[0]], others=([one, two[1]],))


class Packed(Wrapper):
    """Several documents in one sequence; a query sees those of its own number."""

    def forward(self, x: Tensor, document_ids: Tensor) -> Tensor:
        q, k, v = self.attn.headed(x)
        seen = (document_ids[:, :, None] == document_ids[:, None])[:, None]
        logits = (q @ k.mT / 2).masked_fill(~seen, float("-inf"))
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(EITHER)
def packed_documents() -> Case:
    """The sink of a packed document is its own first key, where documents are known."""
    module, x = Packed(), seeded(2, LENGTH)
    numbers = torch.tensor([[0] * 9 + [1] * 11, [0] * 10 + [1] * 10])
    seen = (numbers[:, :, None] == numbers[:, None])[:, None]
    return Case(module=module, inputs=(x, numbers), truths=[truth_of(module.attn, x, seen=seen)])


class FairseqAttention(Projected):
    """(n, batch, width), heads folded behind the batch, unfolded for the mask of padding, and folded again."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")

    def forward(self, query: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        n, b, _ = query.shape
        q, k, v = (t.contiguous().view(n, b * 4, 4).transpose(0, 1) for t in self.projected(query))
        logits = torch.bmm(q / 2, k.transpose(1, 2))
        if key_padding_mask is not None:
            logits = logits.view(b, 4, n, n)
            logits = logits.masked_fill(key_padding_mask[:, None, None].to(torch.bool), float("-inf"))
            logits = logits.view(b * 4, n, n)
        weights = F.softmax(logits, dim=-1, dtype=torch.float32).type_as(logits)
        return torch.bmm(weights, v).transpose(0, 1).contiguous().view(n, b, 16)


class Encoder(nn.Module):
    """The mask is made of ids, as fairseq does."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens, self.self_attn = nn.Embedding(50, 16), FairseqAttention()

    def forward(self, src_tokens: Tensor) -> Tensor:
        out: Tensor = self.self_attn(self.embed_tokens(src_tokens).transpose(0, 1), src_tokens.eq(1))
        return out


@layout(MET, right={"real": right}, left={"real": left}, equal={"real": lambda: right((20, 11, 14, 17))})
def folded_padding(real: Callable[[], Tensor]) -> Case:
    module, there = Encoder(), real()
    ids = torch.randint(2, 50, there.shape, generator=torch.Generator().manual_seed(3)).masked_fill(~there, 1)
    x = module.embed_tokens(ids).detach()
    truth = truth_of(module.self_attn, x, seen=rules(there), real=there, place=lambda out: out.transpose(0, 1))
    return Case(module=module, inputs=(ids,), truths=[truth])


@layout(MET)
def cross_of_one_length() -> Case:
    """No padding, query and key of one length: no self, previous or local mass."""
    module, x, y = PaddedAttention(), seeded(3, LENGTH), seeded(3, LENGTH, seed=5)
    truth = truth_of(module, x, y, positions=CROSS)
    return Case(module=module, inputs={"x": x, "source": y}, truths=[truth])
