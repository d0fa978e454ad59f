"""How faults are planted in tiny models and their batches."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from tests.contract.architectures import (
    LENGTH,
    WINDOW,
    batch_of,
    made,
)
from torch import Tensor, nn

from heedful.contract.record import Contract

SECOND = 20
"""Where the second document begins."""

Pair = tuple[int | None, int | None]


@dataclass
class Planted:
    """A model with a fault.

    Attributes:
        model: The model.
        batch: What it is given.
        promise: Name of the promise that must be found broken.
        layer: Module path that must be named first, or its beginning.
        pair: ``(query, key)`` that must be named first; None where it does not matter.
        contract: Promises given with it.
        documents: Labels, for remedies.
        undo: What takes the fault out of transformers again.
    """

    model: nn.Module
    batch: dict[str, Any]
    promise: str
    layer: str
    pair: Pair = (None, None)
    contract: Contract | None = None
    undo: list[Callable[[], None]] = field(default_factory=list)


Plant = Callable[[str, str], Planted]


@dataclass(frozen=True)
class Fault:
    """A way of going wrong.

    Attributes:
        name: Its name.
        plant: Makes it in one architecture with one implementation.
        architectures: Those in which it exists.
        implementations: Implementations in which it exists.
        mends: Whether the remedy is code that runs; else it is a change of the model's own source.
    """

    name: str
    plant: Plant
    architectures: tuple[str, ...]
    implementations: tuple[str, ...] = ("sdpa", "eager")
    mends: bool = True


_numbers = itertools.count()


def attention_path(model: nn.Module, layer: int, side: str = "") -> str:
    """Path of the attention module of one layer."""
    found = [
        path
        for path, module in model.named_modules()
        if path.startswith(side) or side in path
        if path.split(".")[-1] in ("self_attn", "attn", "attention", "self", "SelfAttention")
        and not any(True for inner, _ in module.named_modules() if inner in ("self",))
        and hasattr(module, "forward")
        and any(isinstance(child, nn.Linear) or type(child).__name__ == "Conv1D" for child in module.children())
        and "output" not in path
    ]
    return found[layer]


def eager_of(module: nn.Module) -> Callable[..., Any]:
    """The eager attention function of a module's file."""
    for cls in type(module).__mro__:
        function = getattr(importlib.import_module(cls.__module__), "eager_attention_forward", None)
        if function is not None:
            return function  # type: ignore[no-any-return]
    raise LookupError(type(module).__name__)


def own_kernel(model: nn.Module, implementation: str, change: Callable[..., Any]) -> None:
    """Let a model use a kernel of its own around the usual one: ``change(module, arguments)``, in place."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import eager_mask, sdpa_mask

    name = f"own_{implementation}_{next(_numbers)}"

    def kernel(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **keywords: Any) -> Any:
        given = {"query": query, "key": key, "value": value, "mask": mask, **keywords}
        change(module, given)
        base = sdpa_attention_forward if implementation == "sdpa" else eager_of(module)
        parts = [given.pop(word) for word in ("query", "key", "value", "mask")]
        return base(module, *parts, **given)

    AttentionInterface.register(name, kernel)
    AttentionMaskInterface.register(name, sdpa_mask if implementation == "sdpa" else eager_mask)
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None:
            config._attn_implementation = name


def seen_by(module: nn.Module, given: dict[str, Any]) -> Tensor:
    """Which keys the handed mask shows, ``(batch or 1, 1, query, key)`` bool."""
    mask, queries, keys = given["mask"], given["query"].shape[2], given["key"].shape[2]
    if mask is None:
        causal = given.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        shown = torch.ones(queries, keys, dtype=torch.bool)
        return (shown.tril(keys - queries) if causal else shown)[None, None]
    mask = mask[..., :keys]
    return mask if mask.dtype == torch.bool else mask > -1e4


def show(implementation: str, given: dict[str, Any], shown: Tensor, hides: float | None = None) -> None:
    """Hand the kernel another mask."""
    if implementation == "sdpa" and hides is None:
        given["mask"] = shown
    else:
        dtype = given["query"].dtype
        least = torch.finfo(dtype).min if hides is None else hides
        given["mask"] = torch.zeros(shown.shape, dtype=dtype).masked_fill(~shown, least)


def _masks(
    promise: str,
    pair: Pair,
    seen: Callable[[nn.Module, Tensor], Tensor | None],
    *,
    layer: int = 0,
    hides: float | None = None,
) -> Plant:
    """A kernel that shows other keys than it was handed, in the layers in which ``seen`` gives a mask."""

    def plant(name: str, implementation: str) -> Planted:
        model = made(name, implementation)

        def change(module: nn.Module, given: dict[str, Any]) -> None:
            other = seen(module, seen_by(module, given))
            if other is not None:
                show(implementation, given, other, hides)

        own_kernel(model, implementation, change)
        return Planted(model, batch_of(name), promise, attention_path(model, layer), pair)

    return plant


def _tri(shown: Tensor, diagonal: int = 0) -> Tensor:
    return torch.ones(shown.shape[-2:], dtype=torch.bool).tril(diagonal)[None, None]


def _windowed(module: nn.Module) -> bool:
    own = getattr(module, "sliding_window", None)
    return own is not None or module.config.model_type == "mistral"


def _window(by: int) -> Callable[[nn.Module, Tensor], Tensor | None]:
    def seen(module: nn.Module, shown: Tensor) -> Tensor | None:
        return _tri(shown) & ~_tri(shown, -WINDOW - by) if _windowed(module) else None

    return seen


def _exchanged(module: nn.Module, shown: Tensor) -> Tensor:
    return _tri(shown) if _windowed(module) else _tri(shown) & ~_tri(shown, -WINDOW)


def _arguments(promise: str, change: Callable[[nn.Module, dict[str, Any]], None], pair: Pair = (None, None)) -> Plant:
    def plant(name: str, implementation: str) -> Planted:
        model = made(name, implementation)
        own_kernel(model, implementation, change)
        return Planted(model, batch_of(name), promise, attention_path(model, 0), pair)

    return plant


def _tile_plant(name: str, implementation: str) -> Planted:
    """Key heads come round in turn: each query head is given the key head that is its own number modulo their count."""
    model = made(name, implementation)

    def change(module: nn.Module, given: dict[str, Any]) -> None:
        heads, keys = given["query"].shape[1], given["key"].shape[1]
        order = torch.arange(heads).view(heads // keys, keys).t().flatten()  # query heads by key head
        given["query"] = given["query"][:, order]

    own_kernel(model, implementation, change)
    from transformers import AttentionInterface

    kernel = AttentionInterface._global_mapping[model.config._attn_implementation]

    def back(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **keywords: Any) -> Any:
        output, weights = kernel(module, query, key, value, mask, **keywords)
        heads, keys = query.shape[1], key.shape[1]
        order = torch.arange(heads).view(heads // keys, keys).t().flatten()
        return output[:, :, order.argsort()], weights

    AttentionInterface._global_mapping[model.config._attn_implementation] = back
    return Planted(model, batch_of(name), "grouping", attention_path(model, 0), (None, None))


def packed(name: str, **more: Any) -> dict[str, Any]:
    """Two documents in a row, whose positions begin again."""
    batch = batch_of(name, 1)
    positions = torch.cat([torch.arange(SECOND), torch.arange(LENGTH - SECOND)])[None]
    return {**batch, "position_ids": positions, **more}


def _batch(
    promise: str, pair: Pair, make: Callable[[str, str], dict[str, Any]], *, contract: Contract | None = None
) -> Plant:
    def plant(name: str, implementation: str) -> Planted:
        model = made(name, implementation)
        return Planted(model, make(name, implementation), promise, attention_path(model, 0), pair, contract)

    return plant


def _labels() -> Tensor:
    return torch.cat([torch.zeros(SECOND), torch.ones(LENGTH - SECOND)]).long()[None]


def _lengths(name: str, implementation: str) -> dict[str, Any]:
    ends = torch.tensor([0, SECOND, LENGTH], dtype=torch.int32)
    return {**batch_of(name, 1), "cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "use_cache": False}


def _four_axes(name: str, implementation: str) -> dict[str, Any]:
    shown = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()[None, None].expand(2, 1, -1, -1)
    mask = shown if implementation == "sdpa" else torch.zeros(shown.shape).masked_fill(~shown, torch.finfo().min)
    return {**batch_of(name), "attention_mask": mask}


def _bool_to_eager(name: str, implementation: str) -> dict[str, Any]:
    shown = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()[None, None].expand(2, 1, -1, -1)
    return {**batch_of(name), "attention_mask": shown, "use_cache": False}


def padded(name: str, side: str) -> dict[str, Any]:
    """A batch whose second row is 7 tokens shorter."""
    batch = batch_of(name)
    mask = torch.ones_like(batch["input_ids"])
    place = slice(0, 7) if side == "left" else slice(LENGTH - 7, LENGTH)
    mask[1, place] = 0
    ids = batch["input_ids"].masked_fill(mask == 0, 0)
    return {**batch, "input_ids": ids, "attention_mask": mask}


def _drops_mask(name: str, implementation: str) -> Planted:
    model = made(name, implementation)
    own_kernel(model, implementation, lambda module, given: given.update(mask=None))
    return Planted(model, padded(name, "right"), "padding", attention_path(model, 0), (0, LENGTH - 7))


def _cross_unmasked(name: str, implementation: str) -> Planted:
    model = made(name, implementation)

    def change(module: nn.Module, given: dict[str, Any]) -> None:
        if given["query"].shape[2] != given["key"].shape[2]:
            given["mask"] = None
            given["is_causal"] = False

    own_kernel(model, implementation, change)
    cross = "model.decoder.layers.0.encoder_attn" if name == "bart" else "decoder.block.0.layer.1.EncDecAttention"
    return Planted(model, padded(name, "right"), "padding", cross, (0, LENGTH - 7))


def _wrong_positions(name: str, implementation: str) -> Planted:
    model = made(name, implementation)
    return Planted(model, padded(name, "left"), "positions", "", (None, None))


def _causal_encoder(name: str, implementation: str) -> Planted:
    model = made(name, implementation)
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = True  # type: ignore[assignment]
    return Planted(model, batch_of(name), "direction", attention_path(model, 0), (0, 1))


def _attribute(promise: str, attribute: str, value: Any, layer: int = 0) -> Plant:
    """Another value of an attribute of one layer's attention."""

    def plant(name: str, implementation: str) -> Planted:
        model = made(name, implementation)
        path = attention_path(model, layer)
        module = model.get_submodule(path)
        setattr(module, attribute, value(module) if callable(value) else value)
        return Planted(model, batch_of(name), promise, path)

    return plant


def rotary_of(model: nn.Module) -> Any:
    """The module of the rotary table."""
    return next(m for path, m in model.named_modules() if path.endswith("rotary_emb"))


def _rotary(change: Callable[[nn.Module, Any], None], pair: Pair = (1, None)) -> Plant:
    def plant(name: str, implementation: str) -> Planted:
        model = made(name, implementation)
        change(model, rotary_of(model))
        return Planted(model, batch_of(name), "rotary", attention_path(model, 0), pair)

    return plant


def _other_theta(model: nn.Module, rotary: Any) -> None:
    for name, buffer in list(rotary.named_buffers()):
        if name.endswith("inv_freq"):
            steps = torch.arange(len(buffer)) / len(buffer)
            buffer.copy_(500_000.0**-steps)


def _plain_frequencies(model: nn.Module, rotary: Any) -> None:
    rotary.inv_freq.copy_(10_000.0 ** (-torch.arange(len(rotary.inv_freq)) / len(rotary.inv_freq)))


def _unscaled(model: nn.Module, rotary: Any) -> None:
    rotary.attention_scaling = 1.0


def _half_positions(model: nn.Module, rotary: Any) -> None:
    own = rotary.forward
    rotary.forward = lambda x, position_ids, *rest, **more: own(x, position_ids // 2, *rest, **more)


def _rounded(model: nn.Module, rotary: Any) -> None:
    model.to(torch.bfloat16)
    rotary.inv_freq.data = (rotary.inv_freq * 1.11).to(torch.bfloat16)


def _patched(function: Callable[..., Any]) -> Plant:
    """Another ``apply_rotary_pos_emb`` in the model's file, until it is undone."""

    def plant(name: str, implementation: str) -> Planted:
        model = made(name, implementation)
        path = attention_path(model, 0)
        file = importlib.import_module(type(model.get_submodule(path)).__module__)
        own = file.apply_rotary_pos_emb
        file.apply_rotary_pos_emb = lambda *args, **more: function(own, *args, **more)
        undo = [lambda: setattr(file, "apply_rotary_pos_emb", own)]
        return Planted(model, batch_of(name), "rotary", path, (1, None), undo=undo)

    return plant


def _interleaved(own: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *rest: Any, **more: Any) -> Any:
    half = cos.shape[-1] // 2
    c, s = (table[..., :half].repeat_interleave(2, -1)[:, None] for table in (cos, sin))

    def turned(x: Tensor) -> Tensor:
        width = c.shape[-1]
        part = x[..., :width]
        other = torch.stack([-part[..., 1::2], part[..., 0::2]], -1).flatten(-2)
        return torch.cat([part * c + other * s, x[..., width:]], -1)

    return turned(q), turned(k)


def _keys_alone(own: Any, q: Tensor, k: Tensor, *rest: Any, **more: Any) -> Any:
    return q, own(q, k, *rest, **more)[1]


def _in_full(name: str, implementation: str) -> Planted:
    model = made(name, implementation)
    rotary = rotary_of(model)
    for module in model.modules():
        if hasattr(module, "rotary_ndims"):
            module.rotary_ndims = module.head_dim  # type: ignore[assignment]
    width = model.get_submodule(attention_path(model, 0)).head_dim
    rotary.inv_freq = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    return Planted(model, batch_of(name), "rotary", attention_path(model, 0), (1, None))


def _rotated_unpromised(name: str, implementation: str) -> Planted:
    model = made(name, implementation)
    path = attention_path(model, 1)
    model.get_submodule(path).use_rope = 1
    return Planted(model, batch_of(name), "rotary", path, (1, None))


def _unnormed(side: str) -> Plant:
    def plant(name: str, implementation: str) -> Planted:
        model = made(name, implementation)
        path = attention_path(model, 1)
        norm = model.get_submodule(f"{path}.{side}_norm")
        norm.forward = lambda values: values  # type: ignore[method-assign]
        return Planted(model, batch_of(name), "qk_norm", path)

    return plant


def _biased(name: str, implementation: str) -> Planted:
    model = made(name, implementation)

    def change(module: nn.Module, given: dict[str, Any]) -> None:
        shown = seen_by(module, given)
        place = torch.arange(shown.shape[-1])
        distance = (place[:, None] - place[None]).float()
        least = torch.finfo(given["query"].dtype).min
        given["mask"] = (-0.1 * distance[None, None]).expand(shown.shape).masked_fill(~shown, least)

    own_kernel(model, implementation, change)
    return Planted(model, batch_of(name), "bias", attention_path(model, 0))


def blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The blocks of a model's stack."""
    from heedful.contract.gradients import blocks_of

    return [(path, model.get_submodule(path)) for path in blocks_of(model)]


def _on_stream(promise: str, mix: Callable[[Tensor], Tensor], layer: int = 1, *, whole: bool = False) -> Plant:
    """Something beside attention in one block's output."""

    def plant(name: str, implementation: str) -> Planted:
        model = made(name, implementation)
        path, block = blocks(model)[layer]

        def changed(module: nn.Module, args: Any, output: Any) -> Any:
            first = output[0] if isinstance(output, tuple) else output
            return (mix(first), *output[1:]) if isinstance(output, tuple) else mix(first)

        block.register_forward_hook(changed)
        return Planted(model, batch_of(name), promise, "" if whole else path)

    return plant


def _convolved(states: Tensor) -> Tensor:
    before = torch.nn.functional.pad(states, (0, 0, 1, 1))
    return (before[:, :-2] + before[:, 1:-1] + before[:, 2:]) / 3


def _through_state(name: str, implementation: str) -> Planted:
    model = made(name, implementation)
    return Planted(model, packed(name, use_cache=False), "documents", "model.layers.0")


def _twice(name: str, implementation: str) -> Planted:
    model = made(name, implementation)
    own_kernel(model, implementation, lambda module, given: given.update(mask=given["mask"] + given["mask"]))
    return Planted(model, padded(name, "left"), "finite", attention_path(model, 1))


def _with_cache(name: str, implementation: str) -> Planted:
    """One more token behind a cache, for which the kernel forgets its mask."""
    from transformers import DynamicCache

    model = made(name, implementation)
    cache = DynamicCache()
    batch = batch_of(name)
    with torch.no_grad():
        model(input_ids=batch["input_ids"][:, :-1], past_key_values=cache)
    own_kernel(
        model, implementation, lambda module, given: given.update(mask=None) if given["query"].shape[2] == 1 else None
    )
    last = {"input_ids": batch["input_ids"][:, -1:], "past_key_values": cache}
    return Planted(model, last, "window", attention_path(model, 0), (LENGTH - 1, 0))


def _without_sink(name: str, implementation: str) -> Planted:
    """The eager function of another model, which knows no sinks."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask
    from transformers.models.llama.modeling_llama import eager_attention_forward

    model = made(name, implementation)
    own = f"own_sinkless_{next(_numbers)}"
    AttentionInterface.register(own, eager_attention_forward)
    AttentionMaskInterface.register(own, eager_mask)
    model.config._attn_implementation = own
    return Planted(model, batch_of(name), "sink", attention_path(model, 0))
