"""torch's own transformer layers, with their masks, and subclasses of its attention."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from tests.interception.layouts.fused import split_joint
from tests.interception.layouts.layout import CROSS, EITHER, MET, SELF, Block, Case, Truth, layout, seeded
from tests.interception.layouts.layout import weights_by_loops as by_loops
from torch import Tensor, nn

SOURCE, TARGET = 12, 9
REAL = torch.arange(SOURCE) < torch.tensor([12, 9, 10])[:, None]
TARGET_REAL = torch.arange(TARGET) < torch.tensor([9, 8, 9])[:, None]


def sharpened(model: nn.Module) -> Any:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.in_proj_weight[:32].mul_(3)
    return model.eval()


def entered(model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """What each attention of a model got for query and key, ``(batch, n, width)``, in the order of calls."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):

            def note(mha: nn.Module, args: tuple[Tensor, ...], kwargs: Any, path: str = path) -> None:
                pair = [(t if mha.batch_first else t.transpose(0, 1)).detach() for t in args[:2]]
                found[path] = (pair[0], pair[1])

            handles.append(module.register_forward_pre_hook(note, with_kwargs=True))
    model(*inputs, **named)  # with gradient, so that no layer is fused
    for handle in handles:
        handle.remove()
    return found


def truths(
    model: nn.Module,
    inputs: tuple[Any, ...],
    named: dict[str, Any],
    rules: dict[str, tuple[Tensor | None, Tensor | None]],
) -> list[Truth]:
    """One truth an attention.

    Args:
        model: The model.
        inputs: Its positional arguments.
        named: Its keyword arguments.
        rules: End of a path to what its rows see, and which rows are real.
    """
    modules, found = dict(model.named_modules()), []
    for path, (query, key) in entered(model, inputs, named).items():
        seen, real = next(rule for end, rule in rules.items() if path.endswith(end))
        q, k, _ = split_joint(modules[path], (query, key, key))  # type: ignore[arg-type]
        weights = by_loops(q, k, seen=seen)
        shown = torch.ones_like(weights, dtype=torch.bool) if seen is None else seen.expand_as(weights)
        shown = shown if real is None else shown & real[:, None, :, None]
        crosses = "multihead" in path
        found.append(Truth(weights=weights, seen=shown, place=None, path=path, positions=CROSS if crosses else SELF))
    return found


def made(model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], rules: dict[str, Any]) -> Case:
    model = sharpened(model)
    return Case(
        module=model,
        truths=truths(model, inputs, named, rules),
        run=lambda: model(*inputs, **named),
        gradient=True,
    )


def encoder_layer(**given: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, **given)


CAUSAL = torch.ones(SOURCE, SOURCE, dtype=torch.bool).tril()
TARGET_CAUSAL = torch.ones(TARGET, TARGET, dtype=torch.bool).tril()


@layout(
    MET,
    plain={"named": {}, "rule": (None, None)},
    padded={"named": {"src_key_padding_mask": ~REAL}, "rule": (REAL[:, None, None], REAL)},
    causal={"named": {"mask": ~CAUSAL}, "rule": (CAUSAL, None)},
    causal_padded={
        "named": {"mask": ~CAUSAL, "src_key_padding_mask": ~REAL, "is_causal": True},
        "rule": (CAUSAL & REAL[:, None, None], REAL),
    },
    position_first={"named": {}, "rule": (None, None), "batch_first": False},
    norm_first={"named": {}, "rule": (None, None), "norm_first": True},
)
def encoder(named: dict[str, Any], rule: Any, batch_first: bool = True, norm_first: bool = False) -> Case:
    layer = encoder_layer(batch_first=batch_first, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x = seeded(3, SOURCE)
    return made(model, (x if batch_first else x.transpose(0, 1),), named, {"self_attn": rule})


@layout(MET, distinct={"equal": False}, equal={"equal": True})
def decoder(equal: bool) -> Case:
    """Causal, with padding on both sides: rows of target padding are not judged, in either attention or in one."""
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 24, dropout=0.0, batch_first=True), 2)
    length = SOURCE if equal else TARGET
    real, causal = (REAL, CAUSAL) if equal else (TARGET_REAL, TARGET_CAUSAL)
    inputs = (seeded(3, length), seeded(3, SOURCE, seed=5))
    memory = REAL.flip(0)
    named = {"tgt_mask": ~causal, "tgt_key_padding_mask": ~real, "memory_key_padding_mask": ~memory}
    own = (causal & real[:, None, None], real)
    case = made(model, inputs, named, {"self_attn": own, "multihead_attn": (memory[:, None, None], real)})
    whole = truths(model, inputs, named, {"self_attn": own, "multihead_attn": (memory[:, None, None], None)})
    case.others = (whole,)
    return case


@layout(MET)
def whole_transformer() -> Case:
    model = nn.Transformer(16, 4, 1, 1, 24, dropout=0.0, batch_first=True)
    inputs = (seeded(3, SOURCE), seeded(3, SOURCE, seed=5))
    named = {"tgt_mask": ~CAUSAL, "src_key_padding_mask": ~REAL, "memory_key_padding_mask": ~REAL}
    rules = {
        "encoder.layers.0.self_attn": (REAL[:, None, None], REAL),
        "decoder.layers.0.self_attn": (CAUSAL, None),
        "multihead_attn": (REAL[:, None, None], None),
    }
    return made(model, inputs, named, rules)


class RenamedAttention(nn.MultiheadAttention):
    """A subclass that only passes on."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **given: Any) -> Any:
        return super().forward(query, key, value, **given)


class PlainCall(nn.Module):
    """Calls one attention of torch's in some way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.mha = (RenamedAttention if way == "subclass" else nn.MultiheadAttention)(16, 4, batch_first=True)
        with torch.no_grad():
            self.mha.out_proj.weight.copy_(torch.eye(16))
            self.mha.in_proj_weight[:32].mul_(3)
            self.mha.in_proj_bias.normal_()
        self.position = nn.Parameter(torch.randn(1, SOURCE, 16))

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "positions":
            q, k = x + self.position, x + self.position
            return self.mha(q, k, x)[0]
        if self.way == "unbatched":
            return torch.stack([self.mha(one, one, one, need_weights=False)[0] for one in x])
        if self.way == "each_head":
            return self.mha(x, x, x, average_attn_weights=False)[0]
        if self.way == "float_padding":
            mask = torch.where(REAL, 0.0, float("-inf"))
            return self.mha(x, x, x, key_padding_mask=mask, need_weights=False)[0]
        if self.way == "function":
            return self.by_function(x.transpose(0, 1)).transpose(0, 1)
        return self.mha(x, x, x)[0]

    def by_function(self, x: Tensor) -> Tensor:
        out, _ = F.multi_head_attention_forward(
            x, x, x, 16, 4, self.mha.in_proj_weight, self.mha.in_proj_bias, None, None, False, 0.0,
            self.mha.out_proj.weight, self.mha.out_proj.bias, training=False, need_weights=False,
        )  # fmt: skip
        return out


@layout(
    MET,
    subclass={"way": "subclass"},
    positions={"way": "positions"},
    each_head={"way": "each_head"},
    float_padding={"way": "float_padding"},
    function={"way": "function"},
    unbatched={"way": "unbatched", "outcome": EITHER},
)
def torch_call(way: str) -> Case:
    module, x = PlainCall(way), seeded(3, SOURCE)
    given = (x + module.position).detach() if way == "positions" else x
    q, k, v = split_joint(module.mha, (given, given, x))
    seen = REAL[:, None, None] if way == "float_padding" else None
    weights = by_loops(q, k, seen=seen)
    shown = None if seen is None else (seen & REAL[:, None, :, None]).expand_as(weights)
    truth = Truth(weights=weights, value=v, seen=shown)
    case = Case(module=Block(module), inputs=(x,), truths=[truth], gradient=True)
    if way == "unbatched":
        each = [
            Truth(
                weights=weights[b : b + 1], value=v[b : b + 1], place=lambda out, b=b: out[b : b + 1], replaceable=False
            )
            for b in range(3)
        ]
        case.others = (each,)
    return case
