"""Models made from configs of transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from architectures.case import SHARPNESS, Case, Runs, seeded
from architectures.inputs import VOCABULARY

SPECIAL: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SPREAD = {"initializer_range": 0.08, "init_std": 0.08}
SPECIAL |= SPREAD
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ENCODER = {**SPECIAL, **SIZES, "intermediate_size": 48, "max_position_embeddings": 64}
GROUPED = {**ENCODER, "num_key_value_heads": 2, "head_dim": 8}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
GPT = {**SPECIAL, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
D_MODEL = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
BOTH_SIDES = {
    **SPECIAL,
    **D_MODEL,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "decoder_start_token_id": 1,
    "max_position_embeddings": 64,
}
PICTURES = {**SIZES, "intermediate_size": 48, "image_size": 20, **SPREAD, "patch_size": 4, "num_channels": 3}


def made(name: str, keywords: dict[str, Any], cls: str, eager: bool, by: float) -> nn.Module:
    """A model of an architecture with seeded weights.

    Args:
        name: Model type of the config.
        keywords: Those of the config.
        cls: Class of the model; ``AutoModel`` chooses.
        eager: Whether weights are to be shown.
        by: Factor of the weights.
    """
    import transformers

    def build() -> nn.Module:
        config = transformers.AutoConfig.for_model(name, **keywords)
        chosen: dict[str, Any] = {"attn_implementation": "eager"} if eager else {}
        if cls == "AutoModel":
            return transformers.AutoModel.from_config(config, **chosen)
        return getattr(transformers, cls)._from_config(config, **chosen)

    return seeded(build, by)


GENTLE = {
    "roformer": 1.5,
    "nemotron": 1.5,
    "recurrent_gemma": 1.0,
    "fsmt": 1.5,
    "mobilebert": 1.0,
    "siglip": 1.5,
    "siglip_vision_model": 1.5,
    "gemma3": 1.5,
    "paligemma": 1.5,
    "swinv2": 1.0,
    "swin2sr": 1.0,
    "detr": 0.5,
    "conditional_detr": 0.5,
    "dab-detr": 0.5,
    "deformable_detr": 0.5,
    "table-transformer": 0.5,
}
"""Factors where those of the others would leave rows of one key."""


def case(
    name: str,
    keywords: dict[str, Any],
    runs: Callable[[nn.Module], Runs],
    *,
    family: str,
    row: str = "",
    cls: str = "AutoModel",
    **more: Any,
) -> Case:
    """One row of a transformers architecture; arguments as of ``made`` and of ``Case``."""

    def build(eager: bool) -> nn.Module:
        return made(name, keywords, cls, eager, GENTLE.get(name, SHARPNESS))

    weights = more.pop("weights", {"output_attentions": True})
    return Case(row or name, build, runs, family=family, weights=weights, **more)


text_case = partial(case, family="text")
