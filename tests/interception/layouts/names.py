"""Attention under any name, at any place of a model, and shared, repeated or divided over modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from tests.interception.layouts.layout import EITHER, MET, Case, Projected, Truth, layout, on_itself, seeded, truth_of
from torch import Tensor, nn

LENGTH = 12


class Plain(Projected):
    """Softmax and product, whatever it is called."""

    def __init__(self) -> None:
        super().__init__(4, 4, called="num_heads")

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.headed(x)
        return ((q @ k.mT / self.head_dim**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


class Fused(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*self.headed(x)).transpose(1, 2).flatten(2)


NAMES = ("MAB", "NormAttention", "RotarySelfAttention", "OutputBlock", "Mixer", "Foo", "Layer", "AttentionOutput")
NAMES += ("MaskedMultiHeadAttention", "DropoutAttention", "ProjectedAttention", "EmbeddingAttention", "SA", "Router")
NAMES += ("TokenMixing", "LayerNormAttn", "IntermediateAttention", "MLP", "Attention", "Pooler")


def renamed(name: str, fused: bool = False) -> Projected:
    made: Projected = type(name, (Fused if fused else Plain,), {})()
    return made


@layout(MET, **{name.lower(): {"name": name} for name in NAMES}, foo_fused={"name": "Foo", "fused": True})
def named(name: str, fused: bool = False) -> Case:
    return on_itself(renamed(name, fused), 3, LENGTH)


class Holder(nn.Module):
    """Holds one module under a name of its own."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = getattr(self, self.name)(x)
        return found


PLACES = ("mixer", "norm", "output", "fn", "0", "attn_dropout", "mask", "mlp")


@layout(MET, **{place: {"place": place} for place in PLACES})
def placed(place: str) -> Case:
    module = renamed("Foo")
    case = on_itself(module, 3, LENGTH, path=place)
    return Case(module=Holder(place, module), inputs=case.inputs, truths=case.truths)


class Head(nn.Module):
    """One head of the lecture's transformer."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(16, width, bias=False) for _ in range(3))
        self.register_buffer("tril", torch.ones(16, 16).tril())
        nn.init.normal_(self.query.weight)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        weights = self.query(x) @ self.key(x).mT * self.key.out_features**-0.5
        weights = weights.masked_fill(self.tril[:n, :n] == 0, float("-inf")).softmax(-1)
        return weights @ self.value(x)


class HeadsInAList(nn.Module):
    """``heads`` is a list of modules, each a head."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head() for _ in range(heads))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([head(x) for head in self.heads], dim=-1)


def of_heads(heads: list[Head], x: Tensor, prefix: str = "heads") -> list[Truth]:
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    found = []
    for index, head in enumerate(heads):
        alone = Projected(1, 4)
        alone.query, alone.key, alone.value = head.query, head.key, head.value

        def place(out: Tensor, index: int = index) -> Tensor:
            return out[..., 4 * index : 4 * index + 4]

        found.append(truth_of(alone, x, seen=seen, place=place, path=f"{prefix}.{index}"))
    return found


def joined(truths: list[Truth], path: str) -> Truth:
    """Modules of one head each as the heads of one."""
    return Truth(
        weights=torch.cat([t.weights for t in truths], 1),
        value=torch.cat([t.value for t in truths if t.value is not None], 1),
        seen=torch.cat([t.visible() for t in truths], 1),
        path=path,
    )


@layout(MET, four={"heads": 4, "batch": 2}, batch_is_heads={"heads": 3, "batch": 3}, one={"heads": 1, "batch": 4})
def a_module_a_head(heads: int, batch: int) -> Case:
    module, x = HeadsInAList(heads), seeded(batch, LENGTH)
    truths = of_heads(list(module.heads), x)  # type: ignore[arg-type]
    return Case(module=module, inputs=(x,), truths=truths, others=([joined(truths, "")],))


class Root(nn.Module):
    """The model attends itself, after an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.attend = nn.Embedding(30, 16), Projected(4, 4)
        nn.init.normal_(self.emb.weight)

    def forward(self, ids: Tensor) -> Tensor:
        q, k, v = self.attend.headed(self.emb(ids))
        return ((q @ k.mT / 2).softmax(-1) @ v).transpose(1, 2).flatten(2)


@layout(MET)
def root_attends() -> Case:
    module = Root()
    ids = torch.randint(0, 30, (3, LENGTH), generator=torch.Generator().manual_seed(1))
    return Case(module=module, inputs=(ids,), truths=[truth_of(module.attend, module.emb(ids).detach(), path="")])


class Functional(nn.Module):
    """A whole network in one forward, its layers a loop over lists of weights."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.layers = nn.ModuleList(Projected(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = []
        for layer in self.layers:
            q, k, v = layer.headed(x)
            if self.fused:
                out = F.scaled_dot_product_attention(q, k, v)
            else:
                out = torch.softmax(q @ k.mT / 2, -1) @ v
            x = x + out.transpose(1, 2).flatten(2)
            found.append(out.transpose(1, 2).flatten(2))
        return tuple(found)


@layout(MET, written={"fused": False}, fused={"fused": True})
def functional_layers(fused: bool) -> Case:
    """Replacing is by module, and this is one: all of its calls go."""
    module, x = Functional(fused), seeded(3, LENGTH)
    truths = []
    outputs = [out.detach() for out in module(x)]
    for index, layer in enumerate(module.layers):

        def place(out: tuple[Tensor, ...], index: int = index) -> Tensor:
            return out[index]

        truths.append(truth_of(layer, x, place=place, replaceable=False, path=""))  # type: ignore[arg-type]
        x = x + outputs[index]
    return Case(module=module, inputs=(seeded(3, LENGTH),), truths=truths)


class SharedWeights(nn.Module):
    """One attention, called three times in a forward."""

    def __init__(self, form: Callable[[], Projected]) -> None:
        super().__init__()
        self.attn = form()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        one = self.attn(x)
        two = self.attn(x + one)
        return one, two, self.attn(x - two)


@layout(MET, written={"form": lambda: renamed("Attention")}, fused={"form": lambda: renamed("Attention", True)})
def shared_weights(form: Callable[[], Projected]) -> Case:
    module, x = SharedWeights(form), seeded(3, LENGTH)
    one, two, _ = (out.detach() for out in module(x))
    fed = [x, x + one, x - two]
    truths = [
        truth_of(module.attn, given, path="attn", replaceable=False, place=lambda out, index=index: out[index])
        for index, given in enumerate(fed)
    ]
    return Case(module=module, inputs=(x,), truths=truths)


class OneAnImage(nn.Module):
    """Called once an image, of another length each."""

    def __init__(self, form: Callable[[], Projected]) -> None:
        super().__init__()
        self.attn = form()

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        return [self.attn(x[None])[0] for x in images]


@layout(
    MET,
    written={"form": lambda: renamed("Attention")},
    fused={"form": lambda: renamed("Attention", True)},
)
def one_call_an_image(form: Callable[[], Projected]) -> Case:
    """Three records of one sequence, or one of three; each length is a sequence and counts as one."""
    module = OneAnImage(form)
    images = [seeded(1, length, seed=length)[0] for length in (12, 17, 9)]
    truths = [
        truth_of(
            module.attn, image[None], path="attn", replaceable=False, place=lambda out, index=index: out[index][None]
        )
        for index, image in enumerate(images)
    ]
    return Case(module=module, inputs=(images,), truths=truths, others=([together(truths, 17)],))


def together(truths: list[Truth], length: int) -> Truth:
    """Sequences of several lengths as one batch, the rest padding."""

    def wide(tensor: Tensor) -> Tensor:
        rest = length - tensor.shape[2]
        return F.pad(tensor, (0, rest, 0, rest))

    whole = torch.cat([wide(truth.weights) for truth in truths])
    seen = torch.cat([wide(truth.visible()) for truth in truths])
    return Truth(weights=whole, seen=seen, place=None, path=truths[0].path)


class InADictionary(nn.Module):
    """Attention in a ModuleDict, called by key, one of two."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({"used": renamed("SelfAttention"), "unused": renamed("SelfAttention")})

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.blocks["used"](x)
        return found


@layout(MET)
def in_a_dictionary() -> Case:
    module, x = InADictionary(), seeded(3, LENGTH)
    used: Projected = module.blocks["used"]  # type: ignore[assignment]
    return Case(module=module, inputs=(x,), truths=[truth_of(used, x, path="blocks.used")])


class AroundAndInside(nn.Module):
    """An attention that holds another one: both are met, or told."""

    def __init__(self) -> None:
        super().__init__()
        self.inner_attn, self.own = renamed("InnerAttention"), Projected(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.own.headed(x)
        weights = (q @ k.mT / 2).softmax(-1)
        inner = self.inner_attn(x)
        return (weights @ v).transpose(1, 2).flatten(2), inner


@layout(EITHER, attention={"name": "OuterAttention"}, other={"name": "Foo"})
def one_inside_another(name: str) -> Case:
    """The inner one runs between the softmax and the product of the outer one."""
    module: AroundAndInside = type(name, (AroundAndInside,), {})()
    x = seeded(3, LENGTH)
    outer = truth_of(module.own, x, place=lambda out: out[0], path="")
    inner = truth_of(module.inner_attn, x, place=lambda out: out[1], path="inner_attn")  # type: ignore[arg-type]
    return Case(module=module, inputs=(x,), truths=[outer, inner])


class Unused(nn.Module):
    """Two attentions, of which one is switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.first_attn, self.second_attn = renamed("Attention"), renamed("Attention")

    def forward(self, x: Tensor, second: bool = False) -> Tensor:
        found: Tensor = self.second_attn(x) if second else self.first_attn(x)
        return found


@layout(MET)
def switched_off() -> Case:
    module, x = Unused(), seeded(3, LENGTH)
    return Case(module=module, inputs=(x,), truths=[truth_of(module.first_attn, x, path="first_attn")])  # type: ignore
