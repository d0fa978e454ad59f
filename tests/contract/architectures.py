"""Tiny models of known architectures, three layers each, in which faults are planted."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

LENGTH = 44
WINDOW = 9
VOCABULARY = 61
SPECIAL: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES: dict[str, Any] = {
    **SPECIAL,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 64}
TARGETS: dict[str, Any] = {
    **SPECIAL,
    "d_model": 64,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "decoder_start_token_id": 1,
    "init_std": 0.1,
}

CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "LlamaForCausalLM", SIZES),
    "llama-yarn": ("llama", "LlamaForCausalLM", {**SIZES, "rope_parameters": YARN}),
    "mistral": ("mistral", "MistralForCausalLM", {**SIZES, "sliding_window": WINDOW}),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", SIZES),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", SIZES),
    "gemma2": (
        "gemma2",
        "Gemma2ForCausalLM",
        {
            **SIZES,
            "sliding_window": WINDOW,
            "layer_types": MIXED,
            "query_pre_attn_scalar": 64,
            "attn_logit_softcapping": 2.0,
        },
    ),
    "gemma3": (
        "gemma3_text",
        "Gemma3ForCausalLM",
        {**SIZES, "sliding_window": WINDOW, "layer_types": MIXED, "query_pre_attn_scalar": 64},
    ),
    "cohere2": ("cohere2", "Cohere2ForCausalLM", {**SIZES, "sliding_window": WINDOW, "layer_types": MIXED}),
    "gpt_oss": (
        "gpt_oss",
        "GptOssForCausalLM",
        {**SIZES, **EXPERTS, "sliding_window": WINDOW, "layer_types": MIXED},
    ),
    "phi": (
        "phi",
        "PhiForCausalLM",
        {**SIZES, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 0.5}},
    ),
    "gpt_neox": ("gpt_neox", "GPTNeoXForCausalLM", SIZES),
    "gpt2": (
        "gpt2",
        "GPT2LMHeadModel",
        {**SPECIAL, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128, "initializer_range": 0.1},
    ),
    "smollm3": ("smollm3", "SmolLM3ForCausalLM", {**SIZES, "no_rope_layers": [1, 0, 1]}),
    "olmo2": ("olmo2", "Olmo2ForCausalLM", SIZES),
    "lfm2": ("lfm2", "Lfm2ForCausalLM", {**SIZES, "layer_types": ["conv", "full_attention", "conv"]}),
    "bert": ("bert", "BertForMaskedLM", SIZES),
    "modernbert": (
        "modernbert",
        "ModernBertForMaskedLM",
        {**SIZES, "local_attention": 8, "layer_types": MIXED, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "bart": ("bart", "BartForConditionalGeneration", TARGETS),
    "t5": (
        "t5",
        "T5ForConditionalGeneration",
        {
            **SPECIAL,
            "d_model": 64,
            "d_kv": 16,
            "d_ff": 64,
            "num_layers": 3,
            "num_heads": 4,
            "decoder_start_token_id": 1,
        },
    ),
}
EAGER_ONLY = frozenset({"gemma2", "gpt_oss"})
DECODERS = tuple(name for name in CONFIGS if name not in ("bert", "modernbert", "bart", "t5"))
TWO_SIDED = ("bart", "t5")
ENCODERS = ("bert", "modernbert")
WINDOWED = ("mistral", "gemma2", "gemma3", "cohere2", "gpt_oss")


def made(name: str, implementation: str) -> nn.Module:
    """A model of an architecture, always the same."""
    import transformers

    kind, cls, keywords = CONFIGS[name]
    config = transformers.AutoConfig.for_model(kind, **keywords)
    torch.manual_seed(3)
    model = getattr(transformers, cls)._from_config(config, attn_implementation=implementation)
    return model.eval()


def implementations(name: str) -> tuple[str, ...]:
    """Attention implementations of an architecture that run here."""
    return ("eager",) if name in EAGER_ONLY else ("sdpa", "eager")


def batch_of(name: str, rows: int = 2) -> dict[str, Any]:
    """A healthy batch, nothing packed or padded."""
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(3, VOCABULARY, (rows, LENGTH), generator=generator)
    if name in TWO_SIDED:
        return {"input_ids": ids, "decoder_input_ids": ids[:, :30].flip(1).contiguous()}
    return {"input_ids": ids}
