"""Decoders in which attention stands beside something else: states, memories, experts of several sizes."""

from __future__ import annotations

from typing import Any

from architectures.families.made import ENCODER, EXPERTS, GPT, GROUPED, SPECIAL, case
from architectures.inputs import text

STATE = {
    "mamba_d_state": 8,
    "mamba_n_heads": 4,
    "n_mamba_heads": 4,
    "mamba_num_heads": 4,
    "mamba_d_head": 16,
    "mamba_head_dim": 16,
    "mamba_d_ssm": 64,
    "mamba_n_groups": 1,
    "mamba_dt_rank": 4,
    "mamba_chunk_size": 8,
    "chunk_size": 8,
    "ssm_state_size": 8,
    "n_groups": 1,
    "use_mamba_kernels": False,
    "shared_intermediate_size": 32,
}
LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_head_dim": 8,
    "linear_num_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
    "shared_expert_intermediate_size": 16,
}
MAMBA_THEN_ATTENTION = {**GROUPED, **EXPERTS, **STATE, "layer_types": ["mamba", "attention"]}
HYBRIDS: dict[str, dict[str, Any]] = {
    "jamba": {**GROUPED, **EXPERTS, **STATE, "attn_layer_period": 2, "attn_layer_offset": 1},
    "bamba": {**GROUPED, **STATE, "attn_layer_indices": [1]},
    "zamba": {
        **ENCODER,
        **STATE,
        "n_mamba_heads": 2,
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "layers_block_type": ["mamba", "hybrid", "hybrid"],
    },
    "zamba2": {
        **ENCODER,
        **STATE,
        "mamba_d_state": 8,
        "num_key_value_heads": 4,
        "layers_block_type": ["mamba", "hybrid"],
    },
    "falcon_h1": {**GROUPED, **STATE},
    "nemotron_h": {**GROUPED, **STATE, "layers_block_type": ["mamba", "attention", "moe"]},
    "granitemoehybrid": MAMBA_THEN_ATTENTION,
    "recurrent_gemma": {
        **GROUPED,
        "attention_window_size": 10,
        "block_types": ["recurrent", "attention"],
        "lru_width": 32,
    },
    "qwen3_next": {**GROUPED, **EXPERTS, **LINEAR},
    "olmo_hybrid": {**GROUPED, **LINEAR},
    "lfm2": {**GROUPED, "layer_types": ["conv", "full_attention"]},
    "minimax": {**GROUPED, **EXPERTS, "block_size": 8, "layer_types": ["linear_attention", "full_attention"]},
    "llama4_text": {**GROUPED, **EXPERTS, "attention_chunk_size": 16, "intermediate_size_mlp": 48},
    "gemma3n_text": {
        **GROUPED,
        "sliding_window": 10,
        "num_hidden_layers": 3,
        "vocab_size_per_layer_input": 61,
        "hidden_size_per_layer_input": 8,
        "num_kv_shared_layers": 1,
        "laurel_rank": 4,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "activation_sparsity_pattern": [0.0, 0.0, 0.0],
    },
    "gemma4_text": {
        **GROUPED,
        "sliding_window": 10,
        "vocab_size_per_layer_input": 61,
        "hidden_size_per_layer_input": 8,
        "num_kv_shared_layers": 0,
        "global_head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "longcat_flash": {
        **ENCODER,
        "num_layers": 1,
        "ffn_hidden_size": 48,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "head_dim": 8,
        "v_head_dim": 8,
        "moe_topk": 2,
        "n_routed_experts": 4,
        "zero_expert_num": 2,
        "expert_ffn_hidden_size": 16,
    },
    "imagegpt": {**GPT, "vocab_size": 61},
    "reformer": {
        **ENCODER,
        "attn_layers": ["local", "local"],
        "axial_pos_embds": False,
        "attention_head_size": 8,
        "feed_forward_size": 48,
        "local_attn_chunk_length": 8,
        "hash_seed": 0,
        "is_decoder": True,
        "num_buckets": 2,
    },
    "mamba2": {
        **SPECIAL,
        **STATE,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 4,
        "head_dim": 16,
        "state_size": 8,
    },
}

CASES = [case(name, keywords, text("right", "left"), family="hybrid") for name, keywords in HYBRIDS.items()]
