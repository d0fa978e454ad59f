"""Facts about model types that configs omit: causal or bidirectional, scale, rotary pairing."""

from __future__ import annotations

import sys
from functools import cache

SPARSE = frozenset(
    [
        "longformer",
        "led",
        "big_bird",
        "bigbird_pegasus",
        "reformer",
        "longt5",
        "nystromformer",
        "yoso",
        "funnel",
        "canine",
        "convbert",
        "pegasus_x",
        "mra",
        "prophetnet",
        "autoformer",
        "informer",
        "esmc",
        "deepseek_v32",
        "deepseek_v4",
        "glm_moe_dsa",
        "doge",
    ]
)
"""Types whose attention is sparse by a pattern of their own: who sees whom is not judged."""

UNSURE = frozenset(
    ["xlnet", "git", "fuyu", "xlm", "flaubert", "perceiver", "prophetnet", "moshi", "blt", "hrm_text", "cpmant"]
)
"""Types that stand in a table of decoders or encoders and look by rules of their own."""

EVERY_LAYER = frozenset(["mistral", "mixtral", "phi3", "phimoe", "ministral3", "starcoder2"])
"""Types whose ``sliding_window`` holds in every layer."""

INTERLEAVED = frozenset(
    [
        "cohere",
        "cohere2",
        "cohere2_moe",
        "glm",
        "glm4",
        "ernie4_5",
        "ernie4_5_moe",
        "gptj",
        "codegen",
        "helium",
        "roformer",
        "llama4_text",
    ]
)
HALF_SPLIT = frozenset(
    [
        "llama",
        "mistral",
        "mixtral",
        "ministral",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "gemma",
        "gemma2",
        "gemma3_text",
        "phi",
        "phi3",
        "phimoe",
        "olmo",
        "olmo2",
        "olmo3",
        "olmoe",
        "stablelm",
        "starcoder2",
        "granite",
        "granitemoe",
        "gpt_oss",
        "gpt_neox",
        "falcon",
        "persimmon",
        "nemotron",
        "exaone4",
        "smollm3",
        "seed_oss",
        "arcee",
        "apertus",
        "bitnet",
        "dots1",
        "hunyuan_v1_dense",
        "eurobert",
        "gte",
        "nomic_bert",
        "qwen2_vl_text",
        "qwen2_5_vl_text",
        "qwen3_vl_text",
    ]
)

USUAL_SCALE = HALF_SPLIT - {"gemma2", "gemma3_text", "granite", "granitemoe"} | frozenset(
    [
        "cohere",
        "cohere2",
        "glm",
        "glm4",
        "ernie4_5",
        "gptj",
        "gpt2",
        "gpt_bigcode",
        "helium",
        "bert",
        "roberta",
        "electra",
        "distilbert",
        "camembert",
        "ctrl",
        "xlm-roberta",
        "albert",
        "biogpt",
        "bart",
        "mbart",
        "blenderbot",
        "marian",
        "pegasus",
        "plbart",
        "m2m_100",
        "modernbert",
        "modernbert-decoder",
        "llama4_text",
        "falcon_h1",
        "lfm2",
        "bamba",
        "jamba",
        "vit",
        "deit",
        "clip",
        "clip_text_model",
        "clip_vision_model",
        "siglip_vision_model",
    ]
)
"""Types whose products are scaled by one over the root of the head's width, whatever their config says of scales."""

LATENT = frozenset(["deepseek_v2", "deepseek_v3"])
"""Types with latent heads (MLA): the last components are rotated, and a key's are shared by all heads."""

UNIT_SCALE = frozenset(["t5", "mt5", "umt5", "switch_transformers", "gemma3n_text", "gemma4_text"])


@cache
def _tables() -> dict[str, frozenset[str]]:
    if "transformers" not in sys.modules:
        return {"causal": frozenset(), "masked": frozenset(), "both_sides": frozenset()}
    from transformers.models.auto import modeling_auto as auto

    both_sides = {*auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, *auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES}
    return {
        "causal": frozenset(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        "masked": frozenset(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
        "both_sides": frozenset(both_sides | {"vision-encoder-decoder", "speech-encoder-decoder"}),
    }


def is_decoder_type(name: str) -> bool:
    """Return whether transformers lists a model type as a text decoder."""
    return name in _tables()["causal"] and name not in UNSURE


def is_encoder_type(name: str) -> bool:
    """Return whether transformers lists a model type as a text encoder."""
    return name in _tables()["masked"] and name not in UNSURE


def has_both_sides(name: str) -> bool:
    """Return whether transformers lists a model type as an encoder-decoder."""
    return name in _tables()["both_sides"] and name not in UNSURE
