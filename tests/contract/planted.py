"""Faults, each planted in a tiny model or its batch, and where the check must find it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tests.contract.architectures import (
    DECODERS,
    ENCODERS,
    LENGTH,
    TWO_SIDED,
    WINDOW,
    WINDOWED,
    batch_of,
    implementations,
)
from tests.contract.planting import (
    SECOND,
    Fault,
    Planted,
    _arguments,
    _attribute,
    _batch,
    _biased,
    _bool_to_eager,
    _causal_encoder,
    _convolved,
    _cross_unmasked,
    _drops_mask,
    _exchanged,
    _four_axes,
    _half_positions,
    _in_full,
    _interleaved,
    _keys_alone,
    _labels,
    _lengths,
    _masks,
    _on_stream,
    _other_theta,
    _patched,
    _plain_frequencies,
    _rotary,
    _rotated_unpromised,
    _rounded,
    _through_state,
    _tile_plant,
    _tri,
    _twice,
    _unnormed,
    _unscaled,
    _window,
    _with_cache,
    _without_sink,
    _wrong_positions,
    packed,
)

from heedful.contract.record import Contract


def _rest(names: tuple[str, ...], *without: str) -> tuple[str, ...]:
    return tuple(name for name in names if name not in without)


PLAIN = _rest(DECODERS, "lfm2")
GROUPED = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "cohere2", "smollm3")
ROTARY = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "phi", "gpt_neox", "smollm3", "olmo2")
PACKABLE = ("llama", "mistral", "qwen2", "qwen3", "gemma3", "cohere2", "smollm3", "olmo2", "phi", "gpt_neox", "gpt2")
MIXED_LAYERS = ("gemma2", "gemma3", "cohere2", "gpt_oss")
SECOND_SEES_FIRST = (SECOND, 0)
DOCUMENT_PAIR = {"mistral": (SECOND, SECOND - WINDOW + 1)}

FAULTS = (
    Fault("causal mask lost", _masks("direction", (0, 1), lambda m, shown: torch.ones_like(shown)), PLAIN),
    Fault(
        "two keys too far",
        _masks("direction", (0, 1), lambda m, shown: _tri(shown, 2) if m.layer_idx == 1 else None, layer=1),
        _rest(PLAIN, *WINDOWED),
    ),
    Fault("mask transposed", _masks("direction", (0, 1), lambda m, shown: shown.transpose(-1, -2)), PLAIN),
    Fault("mask of -10", _masks("direction", (0, 1), lambda m, shown: shown, hides=-10.0), PLAIN),
    Fault("window one too wide", _masks("window", (WINDOW, 0), _window(1)), WINDOWED),
    Fault("window one too narrow", _masks("window", (WINDOW - 1, 0), _window(-1)), WINDOWED),
    Fault("window on the wrong layers", _masks("window", (WINDOW, 0), _exchanged), MIXED_LAYERS),
    Fault("window lost to a mask of 4 axes", _batch("window", (WINDOW, 0), _four_axes), WINDOWED),
    Fault("window lost with a cache", _with_cache, ("mistral", "gemma2", "gemma3", "cohere2")),
    Fault("bool mask added", _batch("direction", (0, 1), _bool_to_eager), ("llama", "qwen2", "qwen3"), ("eager",)),
    Fault("mask added twice", _twice, ("llama", "mistral", "qwen2", "qwen3", "olmo2"), ("eager",)),
    Fault(
        "packed with a mask of ones",
        _batch("documents", SECOND_SEES_FIRST, lambda n, i: packed(n, attention_mask=torch.ones(1, LENGTH).long())),
        _rest(PACKABLE, "mistral", "gemma3", "cohere2"),
    ),
    Fault(
        "packed with a cache",
        _batch("documents", SECOND_SEES_FIRST, lambda n, i: packed(n)),
        _rest(PACKABLE, "mistral", "gemma3", "cohere2"),
    ),
    Fault(
        "packed in windows, mask of ones",
        _batch(
            "documents",
            (SECOND, SECOND - WINDOW + 1),
            lambda n, i: packed(n, attention_mask=torch.ones(1, LENGTH).long()),
        ),
        ("mistral", "gemma3", "cohere2"),
    ),
    Fault(
        "packed by lengths alone",
        _batch("documents", SECOND_SEES_FIRST, _lengths),
        ("llama", "qwen2", "qwen3", "olmo2"),
    ),
    Fault(
        "mask that numbers documents",
        _batch("documents", SECOND_SEES_FIRST, lambda n, i: {**batch_of(n, 1), "attention_mask": _labels() + 1}),
        ("llama", "qwen2", "qwen3", "gpt2"),
    ),
    Fault(
        "packed, positions not reset",
        _batch("documents", SECOND_SEES_FIRST, lambda n, i: batch_of(n, 1), contract=Contract(documents=_labels())),
        ("llama", "qwen2", "qwen3", "gpt2", "gpt_neox"),
    ),
    Fault(
        "positions that its masks ignore",
        _batch("documents", (SECOND, SECOND - WINDOW + 1), lambda n, i: packed(n, use_cache=False)),
        ("gpt_oss",),
    ),
    Fault("positions that an encoder ignores", _batch("documents", (0, SECOND), lambda n, i: packed(n)), ("bert",)),
    Fault("documents through a convolution", _through_state, ("lfm2",)),
    Fault("padding seen", _drops_mask, ("bert",)),
    Fault("source padding seen", _cross_unmasked, TWO_SIDED),
    Fault("left padding, positions from 0", _wrong_positions, ("gpt2",)),
    Fault("encoder still causal", _causal_encoder, ("bert",), ("sdpa",)),
    Fault("encoder kernel causal", _masks("direction", (0, 1), lambda m, shown: shown & _tri(shown)), ENCODERS),
    Fault(
        "prefix hidden",
        _batch("blocks", (0, 1), lambda n, i: batch_of(n), contract=Contract(prefix=6)),
        ("llama", "qwen2", "gpt2"),
    ),
    Fault(
        "scale squared",
        _arguments("scale", lambda m, given: given.update(scaling=(given.get("scaling") or 0.25) ** 2)),
        _rest(PLAIN, "gpt2"),
    ),
    Fault("scale lost", _arguments("scale", lambda m, given: given.update(scaling=1.0)), _rest(PLAIN, "gemma2")),
    Fault("scale of another config", _attribute("scale", "scaling", 0.25), ("gemma2", "gemma3")),
    Fault("softcap lost", _attribute("softcap", "attn_logit_softcapping", None), ("gemma2",), ("eager",)),
    Fault("key heads tiled", _tile_plant, GROUPED),
    Fault("sink lost", _without_sink, ("gpt_oss",)),
    Fault("another theta", _rotary(_other_theta), _rest(ROTARY, "phi", "gpt_neox")),
    Fault("YaRN's frequencies not applied", _rotary(_plain_frequencies, (None, None)), ("llama-yarn",)),
    Fault("YaRN's factor not applied", _rotary(_unscaled, (None, None)), ("llama-yarn",)),
    Fault("positions halved", _rotary(_half_positions), _rest(ROTARY, "gemma3")),
    Fault("frequencies rounded", _rotary(_rounded, (None, None)), ("llama", "qwen2")),
    Fault("pairs of the other kind", _patched(_interleaved), ("llama", "mistral", "qwen2", "qwen3"), mends=False),
    Fault("queries not rotated", _patched(_keys_alone), ("llama", "mistral", "qwen2", "qwen3", "phi"), mends=False),
    Fault("rotated in full", _in_full, ("phi",)),
    Fault("rotated where none is promised", _rotated_unpromised, ("smollm3",)),
    Fault("keys not normalised", _unnormed("k"), ("qwen3", "gemma3", "olmo2")),
    Fault("queries not normalised", _unnormed("q"), ("qwen3", "gemma3", "olmo2")),
    Fault("bias of distance", _biased, ("llama", "qwen2", "qwen3", "mistral")),
    Fault("convolution over the stream", _on_stream("direction", _convolved), PLAIN),
    Fault("mean over time", _on_stream("direction", lambda s: s - s.mean(1, keepdim=True)), PLAIN),
    Fault(
        "rows that see one another",
        _on_stream("rows", lambda s: s + 0.1 * s.flip(0), whole=True),
        (*PLAIN, *ENCODERS),
    ),
)


def every() -> Iterator[tuple[Fault, str, str]]:
    """Every fault in every architecture and implementation in which it exists."""
    for fault in FAULTS:
        for name in fault.architectures:
            for implementation in implementations(name):
                if implementation in fault.implementations:
                    yield fault, name, implementation


@contextmanager
def planted(fault: Fault, name: str, implementation: str) -> Iterator[Planted]:
    """A fault in a model; transformers is as before afterwards."""
    found = fault.plant(name, implementation)
    try:
        yield found
    finally:
        for undo in found.undo:
            undo()
