"""Models and batches that look like a fault and are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tests.contract.architectures import (
    CONFIGS,
    DECODERS,
    EXPERTS,
    LENGTH,
    SIZES,
    TWO_SIDED,
    WINDOWED,
    batch_of,
    implementations,
    made,
)
from tests.contract.planting import packed, padded
from torch import Tensor, nn

Named = dict[str, Callable[[], tuple[nn.Module, dict[str, Any]]]]


def _config(kind: str, cls: str, **keywords: Any) -> nn.Module:
    import transformers

    config = transformers.AutoConfig.for_model(kind, **{**SIZES, **keywords})
    torch.manual_seed(3)
    model: nn.Module = getattr(transformers, cls)._from_config(config)
    return model.eval()


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp_min(0)


def _left(name: str) -> dict[str, Any]:
    batch = padded(name, "left")
    return {**batch, "position_ids": _positions(batch["attention_mask"])}


def _masked_documents(name: str) -> dict[str, Any]:
    from heedful.contract.remedies import mask_documents

    batch = packed(name)
    mask_documents(made(name, "sdpa"), batch, None)
    return batch


def _flattened(name: str) -> dict[str, Any]:
    """What a collator that pads to a multiple makes: positions that end in zeros."""
    batch = packed(name, use_cache=False)
    positions = batch["position_ids"].clone()
    positions[0, -5:] = 0
    return {**batch, "position_ids": positions}


def _static(name: str) -> tuple[nn.Module, dict[str, Any]]:
    from transformers import StaticCache

    model = made(name, "sdpa")
    cache = StaticCache(config=model.config, max_cache_len=LENGTH + 8)
    return model, {**batch_of(name), "past_key_values": cache, "use_cache": True}


def _tower(dtype: torch.dtype, name: str) -> tuple[nn.Module, dict[str, Any]]:
    import transformers

    kind, cls, keywords = CONFIGS[name]
    config = transformers.AutoConfig.for_model(kind, **keywords)
    torch.manual_seed(3)
    model = getattr(transformers, cls)._from_config(config, dtype=dtype)
    return model.eval(), packed(name, use_cache=False)


def _decoding(name: str) -> tuple[nn.Module, dict[str, Any]]:
    from transformers import DynamicCache

    model, batch = made(name, "sdpa"), batch_of(name)
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(input_ids=batch["input_ids"][:, :-1], past_key_values=cache)
    return model, {"input_ids": batch["input_ids"][:, -1:], "past_key_values": cache}


def _of_configs() -> Named:
    short = {"max_position_embeddings": 256}
    rope: dict[str, Any] = {"rope_theta": 10000.0, "rope_type": "default"}
    long = {
        **rope,
        "rope_type": "longrope",
        "short_factor": [1.5] * 8,
        "long_factor": [4.0] * 8,
        "original_max_position_embeddings": 64,
        "factor": 4.0,
    }
    llama3 = {
        **rope,
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    chunked = dict(
        attention_chunk_size=16,
        layer_types=["chunked_attention", "full_attention", "chunked_attention"],
        no_rope_layers=[1, 0, 1],
        intermediate_size_mlp=64,
        **EXPERTS,
    )
    return {
        "window longer than the text": lambda: (
            _config("mistral", "MistralForCausalLM", sliding_window=100),
            batch_of("mistral"),
        ),
        "window as long as the text": lambda: (
            _config("mistral", "MistralForCausalLM", sliding_window=LENGTH),
            batch_of("mistral"),
        ),
        "dynamic within its length": lambda: (
            _config(
                "llama", "LlamaForCausalLM", rope_parameters={**rope, "rope_type": "dynamic", "factor": 2.0}, **short
            ),
            batch_of("llama"),
        ),
        "linear, factor 1": lambda: (
            _config("llama", "LlamaForCausalLM", rope_parameters={**rope, "rope_type": "linear", "factor": 1.0}),
            batch_of("llama"),
        ),
        "linear": lambda: (
            _config("llama", "LlamaForCausalLM", rope_parameters={**rope, "rope_type": "linear", "factor": 4.0}),
            batch_of("llama"),
        ),
        "llama3": lambda: (_config("llama", "LlamaForCausalLM", rope_parameters=llama3), batch_of("llama")),
        "longrope, short set": lambda: (
            _config("phi3", "Phi3ForCausalLM", rope_parameters=long, original_max_position_embeddings=64),
            batch_of("phi3"),
        ),
        "chunks and layers without rotation": lambda: (
            _config("llama4_text", "Llama4ForCausalLM", **chunked),
            batch_of("llama4_text"),
        ),
    }


def _of_batches() -> Named:
    return {
        "one key head": lambda: (_config("llama", "LlamaForCausalLM", num_key_value_heads=1), batch_of("llama")),
        "as many key heads": lambda: (_config("llama", "LlamaForCausalLM", num_key_value_heads=4), batch_of("llama")),
        "positions from 5": lambda: (
            made("llama", "sdpa"),
            {**batch_of("llama"), "position_ids": torch.arange(5, LENGTH + 5)[None]},
        ),
        "one document": lambda: (
            made("llama", "sdpa"),
            {**batch_of("llama", 1), "position_ids": torch.arange(LENGTH)[None]},
        ),
        "documents of one token": lambda: (
            made("llama", "sdpa"),
            {
                **batch_of("llama", 1),
                "use_cache": False,
                "position_ids": torch.cat([torch.zeros(1), torch.arange(LENGTH - 1)]).long()[None],
            },
        ),
        "looking both ways by config": lambda: (
            _config("llama", "LlamaForCausalLM", is_causal=False),
            batch_of("llama"),
        ),
        "tied layers": lambda: (_config("albert", "AlbertForMaskedLM", embedding_size=16), batch_of("albert")),
        "four axes for each kind of layer": lambda: (made("gemma3", "sdpa"), _masked_documents("gemma3")),
        "four axes": lambda: (made("gpt2", "sdpa"), _masked_documents("gpt2")),
        "static cache": lambda: _static("llama"),
        "positions that end in zeros": lambda: (made("llama", "sdpa"), _flattened("llama")),
        "embeddings for ids": lambda: (
            made("llama", "sdpa"),
            {"inputs_embeds": torch.randn(2, LENGTH, 64, generator=torch.Generator().manual_seed(5))},
        ),
        "labels": lambda: (made("llama", "sdpa"), {**batch_of("llama"), "labels": batch_of("llama")["input_ids"]}),
        "bfloat16": lambda: _tower(torch.bfloat16, "llama"),
        "bfloat16, norms and windows": lambda: _tower(torch.bfloat16, "gemma3"),
        "float16": lambda: _tower(torch.float16, "qwen3"),
        "float64": lambda: _tower(torch.float64, "llama"),
        "one token behind a cache": lambda: _decoding("llama"),
        "one token behind a window's cache": lambda: _decoding("mistral"),
        "one token behind caches of both kinds": lambda: _decoding("gemma3"),
        "dropout": lambda: (_config("llama", "LlamaForCausalLM", attention_dropout=0.3).train(), batch_of("llama")),
    }


def every() -> Named:
    """Every architecture plain, padded and packed, and what looks like a fault."""
    found = {**_of_configs(), **_of_batches()}
    for name in CONFIGS:
        for kind in implementations(name):
            found[f"{name} {kind}"] = lambda name=name, kind=kind: (made(name, kind), batch_of(name))
            found[f"{name} {kind} right"] = lambda name=name, kind=kind: (made(name, kind), padded(name, "right"))
            if name in DECODERS and name != "lfm2":
                found[f"{name} {kind} left"] = lambda name=name, kind=kind: (made(name, kind), _left(name))
                if name != "gpt_oss":
                    found[f"{name} {kind} packed"] = lambda name=name, kind=kind: (
                        made(name, kind),
                        packed(name, use_cache=False),
                    )
    return found


__all__ = ["TWO_SIDED", "WINDOWED", "every"]
