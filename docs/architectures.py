"""Which attention of which transformers architectures is met, from tiny models made of their configs.

``python docs/architectures.py`` writes ``docs/architectures.md`` beside this file.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from heedful.capture import Proof, verify

VOCABULARY, LENGTH, SHARPNESS = 61, 24, 3.0
"""Weights are made a little larger than at initialisation, so that attention is not uniform."""

SPECIAL = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ENCODER = {**SPECIAL, **SIZES, "intermediate_size": 48, "max_position_embeddings": 64}
GROUPED = {**ENCODER, "num_key_value_heads": 2}
OWN_WIDTH = {**GROUPED, "head_dim": 8}
GPT = {**SPECIAL, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    **ENCODER,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 2,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
}
PICTURES = {**SIZES, "intermediate_size": 48, "image_size": 20, "patch_size": 4}
SPEECH = {"conv_dim": (16, 16), "conv_kernel": (4, 4), "conv_stride": (4, 4), "num_feat_extract_layers": 2}
TEXT_TOWER = {**ENCODER, "projection_dim": 16}
D_MODEL = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
BOTH_SIDES = {**D_MODEL, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "decoder_start_token_id": 1}

TEXT: dict[str, dict[str, Any]] = {
    "gpt2": GPT,
    "openai-gpt": GPT,
    "gptj": {**GPT, "rotary_dim": 4},
    "codegen": {**GPT, "rotary_dim": 4},
    "gpt_neo": {
        **SPECIAL,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 9,
        "max_position_embeddings": 64,
    },
    "gpt_neox": ENCODER,
    "bloom": {**SPECIAL, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mpt": {**SPECIAL, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
    "falcon": {**ENCODER, "alibi": False},
    "opt": {
        **SPECIAL,
        **SIZES,
        "ffn_dim": 48,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 32,
    },
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 9},
    "mixtral": {**GROUPED, **EXPERTS},
    "qwen2": GROUPED,
    "qwen3": OWN_WIDTH,
    "gemma": OWN_WIDTH,
    "gemma2": {**OWN_WIDTH, "sliding_window": 10},
    "gemma3_text": {**OWN_WIDTH, "sliding_window": 10},
    "phi": GROUPED,
    "phi3": GROUPED,
    "olmo2": GROUPED,
    "stablelm": GROUPED,
    "starcoder2": GROUPED,
    "granite": GROUPED,
    "cohere": GROUPED,
    "gpt_oss": {**OWN_WIDTH, **EXPERTS, "sliding_window": 10},
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "bert": ENCODER,
    "roberta": {**ENCODER, "max_position_embeddings": 80},
    "electra": {**ENCODER, "embedding_size": 16},
    "albert": {**ENCODER, "embedding_size": 16},
    "distilbert": {**SPECIAL, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "deberta-v2": {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "mpnet": ENCODER,
    "xlnet": {**SPECIAL, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    "modernbert": {**ENCODER, "cls_token_id": 1, "sep_token_id": 1, "local_attention": 8},
    "xlm-roberta": {**ENCODER, "max_position_embeddings": 80},
    "longformer": {**ENCODER, "attention_window": 8},
    "mamba": {**SPECIAL, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "rwkv": {**SPECIAL, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 64},
}
TEXT_TO_TEXT: dict[str, dict[str, Any]] = {
    "t5": {**SPECIAL, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "bart": {**SPECIAL, **BOTH_SIDES, "max_position_embeddings": 64},
    "marian": {**SPECIAL, **BOTH_SIDES, "max_position_embeddings": 64},
}
PIXELS: dict[str, dict[str, Any]] = {
    "vit": PICTURES,
    "dinov2": PICTURES,
    "siglip_vision_model": PICTURES,
    "swin": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [2, 4],
        "window_size": 4,
    },
    "detr": {
        **BOTH_SIDES,
        "num_queries": 6,
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": {
            "model_type": "resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "out_features": ["stage2"],
        },
    },
}
TWO_TOWERS: dict[str, dict[str, Any]] = {
    "clip": {"text_config": TEXT_TOWER, "vision_config": {**PICTURES, "projection_dim": 16}, "projection_dim": 16},
    "siglip": {"text_config": TEXT_TOWER, "vision_config": PICTURES},
}
SOUND: dict[str, dict[str, Any]] = {
    "wav2vec2": {**SPECIAL, **SIZES, **SPEECH, "intermediate_size": 48, "num_conv_pos_embeddings": 16},
    "hubert": {**SPECIAL, **SIZES, **SPEECH, "intermediate_size": 48, "num_conv_pos_embeddings": 16},
}
SPECTROGRAM: dict[str, dict[str, Any]] = {
    "whisper": {
        **SPECIAL,
        **BOTH_SIDES,
        "num_mel_bins": 8,
        "max_source_positions": 24,
        "max_target_positions": 64,
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
    },
}
"""Architecture to the keywords of its config, in families that take the same inputs."""


def _ids(seed: int = 4) -> Tensor:
    return torch.randint(2, VOCABULARY, (2, LENGTH), generator=torch.Generator().manual_seed(seed))


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def _pixels(config: Any) -> Tensor:
    side = getattr(config, "image_size", None) or getattr(getattr(config, "vision_config", None), "image_size", None)
    return _noise(2, 3, side or 64, side or 64)


FAMILIES: list[tuple[dict[str, dict[str, Any]], Callable[[Any], dict[str, Tensor]]]] = [
    (TEXT, lambda config: {"input_ids": _ids()}),
    (TEXT_TO_TEXT, lambda config: {"input_ids": _ids(), "decoder_input_ids": _ids(5)[:, :13]}),
    (PIXELS, lambda config: {"pixel_values": _pixels(config)}),
    (TWO_TOWERS, lambda config: {"input_ids": _ids(), "pixel_values": _pixels(config)}),
    (SOUND, lambda config: {"input_values": _noise(2, 400)}),
    (SPECTROGRAM, lambda config: {"input_features": _noise(2, 8, 48), "decoder_input_ids": _ids(5)[:, :13]}),
]


def tiny(name: str, keywords: dict[str, Any]) -> nn.Module:
    """A model of an architecture in evaluation mode, with the attention that transformers chooses for it."""
    import transformers

    torch.manual_seed(3)
    model: nn.Module = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(name, **keywords))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(SHARPNESS)
    return model.eval()


def proofs_of(name: str) -> list[Proof]:
    """Every attention module of one architecture, proved or not.

    Raises:
        KeyError: The architecture is not in the list.
    """
    for family, inputs in FAMILIES:
        if name in family:
            model = tiny(name, family[name])
            return verify(model, inputs(getattr(model, "config", None)))
    raise KeyError(name)


def row(name: str, proofs: Sequence[Proof]) -> str:
    """One line of the table."""
    met = [proof for proof in proofs if proof.way]
    ways = ", ".join(dict.fromkeys(proof.way for proof in met)) or "not met"
    reasons: dict[str, list[str]] = {}
    for proof in proofs:
        if proof.reason:
            reasons.setdefault(proof.reason, []).append(f"`{proof.path}`")
    remarks = [f"{', '.join(paths[:2])}: {reason}" for reason, paths in reasons.items()]
    if not proofs:
        remarks = ["no module looks like attention and no call was met"]
    counts = [f"{sum(good)} of {len(met)}" if met else "-" for good in _columns(met)]
    return f"| {name} | {ways} | {len(met)} of {len(proofs)} | {counts[0]} | {counts[1]} | {'; '.join(remarks)} |"


def _columns(met: Sequence[Proof]) -> tuple[list[bool], list[bool]]:
    return [proof.recomputed for proof in met], [proof.replaced for proof in met]


def table() -> str:
    """The whole page."""
    import transformers

    names = [name for family, _ in FAMILIES for name in family]
    rows, proved, met = [], 0, 0
    for name in sorted(names):
        proofs = proofs_of(name)
        rows.append(row(name, proofs))
        met += any(proof.way for proof in proofs)
        proved += bool(proofs) and all(proof.recomputed and proof.replaced for proof in proofs)
    head = (
        "# Architectures\n\n"
        f"Tiny models made from configs of transformers {transformers.__version__} on torch {torch.__version__}, with "
        "the attention that transformers chooses. *Recomputed*: modules whose output follows from the captured query, "
        "key, value and mask within rounding. *Replaced*: modules whose removal moves the model's output. Generated by "
        "`python docs/architectures.py`.\n\n"
        f"{len(names)} architectures: {met} met, {proved} with every attention module recomputed and replaced.\n\n"
        "| architecture | way in | modules met | recomputed | replaced | remark |\n|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if len(sys.argv) > 1:
        for wanted in sys.argv[1:]:
            sys.stdout.write("\n".join(map(str, proofs_of(wanted))) + "\n")
    else:
        Path(__file__).with_suffix(".md").write_text(table(), encoding="utf-8")
