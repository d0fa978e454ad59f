"""Encoders and decoders of text together."""

from __future__ import annotations

from typing import Any

from architectures.families.made import BOTH_SIDES, ENCODER, EXPERTS, GROUPED, SPECIAL, case
from architectures.inputs import text_to_text

T5 = {**SPECIAL, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 1}
T5["initializer_factor"] = 0.5
ONE_SIDE = {**GROUPED, "sliding_window": 10}
TEXT_TO_TEXT: dict[str, dict[str, Any]] = {
    "t5": T5,
    "mt5": T5,
    "umt5": T5,
    "longt5": {**T5, "local_radius": 8, "encoder_attention_type": "local"},
    "switch_transformers": {
        **T5,
        "num_decoder_layers": 2,
        "num_experts": 4,
        "expert_capacity": 64,
        "num_sparse_encoder_layers": 1,
    },
    "bart": BOTH_SIDES,
    "mbart": BOTH_SIDES,
    "marian": BOTH_SIDES,
    "m2m_100": BOTH_SIDES,
    "nllb-moe": {**BOTH_SIDES, **EXPERTS, "encoder_sparse_step": 2, "decoder_sparse_step": 2, "expert_capacity": 64},
    "pegasus": BOTH_SIDES,
    "pegasus_x": {**BOTH_SIDES, "block_size": 8, "num_global_tokens": 4},
    "bigbird_pegasus": {**BOTH_SIDES, "attention_type": "original_full"},
    "blenderbot": BOTH_SIDES,
    "blenderbot-small": BOTH_SIDES,
    "plbart": BOTH_SIDES,
    "mvp": BOTH_SIDES,
    "led": {**BOTH_SIDES, "max_encoder_position_embeddings": 64, "attention_window": 8},
    "prophetnet": {
        **SPECIAL,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "decoder_start_token_id": 1,
        "max_position_embeddings": 64,
        "hidden_size": 32,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4,
        "ngram": 2,
    },
    "t5gemma": {**SPECIAL, "encoder": ONE_SIDE, "decoder": {**ONE_SIDE, "cross_attention_hidden_size": 32}},
}

FSMT = {**BOTH_SIDES, "langs": ["en", "de"], "src_vocab_size": 61, "tgt_vocab_size": 61}
"""With a cache, its default, the decoder is given neither the mask of its padding nor the causal one."""

TWO_BERTS = {
    "encoder": {**ENCODER, "model_type": "bert"},
    "decoder": {**ENCODER, "model_type": "bert", "is_decoder": True, "add_cross_attention": True},
    **SPECIAL,
    "decoder_start_token_id": 1,
}


def _in_blocks(path: str, queries: int, keys: int) -> int | None:
    """LongT5's blocks see the block before, their own and the one after."""
    if "Local" in path:
        return queries
    return None if "EncDec" in path else 0


CASES = [
    *(
        case(
            name,
            keywords,
            text_to_text,
            family="encoder-decoder",
            positions=_in_blocks if name == "longt5" else None,
        )
        for name, keywords in TEXT_TO_TEXT.items()
    ),
    case("fsmt", {**FSMT, "use_cache": False}, text_to_text, family="encoder-decoder"),
    case(
        "fsmt",
        FSMT,
        text_to_text,
        family="encoder-decoder",
        row="fsmt (with a cache)",
        ignores="its forward drops decoder_attention_mask, so that padded targets attend and are attended to",
    ),
    case("encoder-decoder", TWO_BERTS, text_to_text, family="encoder-decoder", cls="EncoderDecoderModel"),
]
