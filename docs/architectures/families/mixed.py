"""Models of pictures and text together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from architectures.case import Batch, Runs
from architectures.families.made import BOTH_SIDES, ENCODER, GROUPED, PICTURES, SPECIAL, case
from architectures.inputs import LENGTHS, TARGETS, accepts, ids, noise, padded, pixels, text

TEXT = {**ENCODER, "projection_dim": 16}
SIGHT = {**PICTURES, "projection_dim": 16}
TOWERS = {"text_config": TEXT, "vision_config": SIGHT, "projection_dim": 16}
IMAGE = 3
"""Token id that stands for a piece of the picture."""

BLIP = {**TOWERS, "text_config": {**TEXT, "is_decoder": False, "encoder_hidden_size": 32}, "image_text_hidden_size": 16}
TWO_TOWERS: dict[str, dict[str, Any]] = {
    "clip": TOWERS,
    "siglip": {"text_config": TEXT, "vision_config": PICTURES},
    "chinese_clip": {**TOWERS, "text_config": {**TEXT, "bos_token_id": 1}},
    "altclip": {**TOWERS, "text_config": {**TEXT, "project_dim": 16, "max_position_embeddings": 80}},
    "clipseg": {**TOWERS, "extract_layers": [0, 1], "reduce_dim": 16, "decoder_num_attention_heads": 4},
    "owlvit": TOWERS,
    "owlv2": TOWERS,
    "blip": BLIP,
    "groupvit": {
        **TOWERS,
        "vision_config": {
            **SIGHT,
            "depths": [1, 1],
            "num_group_tokens": [10, 0],
            "num_output_groups": [10, 0],
            "image_size": 20,
        },
        "projection_intermediate_dim": 16,
    },
    "metaclip_2": TOWERS,
}

FLAVA = {
    "text_config": ENCODER,
    "image_config": PICTURES,
    "multimodal_config": {**ENCODER},
    "hidden_size": 32,
    "projection_dim": 16,
    "init_codebook": False,
}
VILT = {**ENCODER, **PICTURES, "max_image_length": -1}
ONE_STREAM: dict[str, tuple[dict[str, Any], int]] = {
    "flava": (FLAVA, 27),
    "vilt": (VILT, 26),
    "git": ({**ENCODER, "vision_config": PICTURES}, 26),
    "layoutlmv3": (
        {
            **ENCODER,
            "input_size": 20,
            "patch_size": 4,
            "coordinate_size": 6,
            "shape_size": 4,
            "max_position_embeddings": 80,
        },
        26,
    ),
}
"""Models that put a picture's positions beside the text's; how many those are."""


def one_stream(more: int, before: bool) -> Callable[[nn.Module], Runs]:
    """Text padded on the right beside a picture, which is never padding.

    Args:
        more: Positions of the picture.
        before: Whether they stand before the text.
    """

    def runs(model: nn.Module) -> Runs:
        found = text("right", extra=pixels)(model)
        batch = found.padded["right"]
        real = batch.real[0]
        seen = torch.ones(len(real), more, dtype=torch.bool)
        both = torch.cat([seen, real] if before else [real, seen], dim=1)
        return Runs(found.alone, {"right": Batch(batch.inputs, (real, both))})

    return runs


def with_picture(tokens: int, sides: tuple[str, ...] = ("right", "left"), **names: Any) -> Callable[[nn.Module], Runs]:
    """Text in which some positions hold the picture's pieces.

    Args:
        tokens: Number of pieces.
        sides: Paddings.
        names: Further arguments of every forward, made of the number of sequences.
    """

    def runs(model: nn.Module) -> Runs:
        sequences = [
            torch.cat([one[:2], torch.full((tokens,), IMAGE), one[2:]])
            for one in ids(tuple(n - 4 for n in LENGTHS), low=5)
        ]
        picture = names.get("make", pixels)(model)
        alone = [
            Batch({"input_ids": one[None], **_row(picture, row), **_types(model, one[None])})
            for row, one in enumerate(sequences)
        ]
        batches = {}
        for side in sides:
            values, real = padded(sequences, side)
            batches[side] = Batch(
                {"input_ids": values, "attention_mask": real.long(), **picture, **_types(model, values)}, (real,)
            )
        return Runs(alone, batches)

    return runs


def _types(model: nn.Module, values: Tensor) -> dict[str, Any]:
    """Which tokens are the picture's, for models that ask; PaliGemma asks which are no prefix."""
    if accepts(model, "mm_token_type_ids"):
        return {"mm_token_type_ids": (values == IMAGE).long()}
    if type(model).__name__.startswith("PaliGemma"):
        return {"token_type_ids": ((values != IMAGE).long().cumsum(-1) > 6).long()}
    return {}


def _row(picture: dict[str, Any], row: int) -> dict[str, Any]:
    found = {}
    for name, value in picture.items():
        count = len(value) // 3 if isinstance(value, Tensor) else 0
        found[name] = value[row * count : (row + 1) * count] if isinstance(value, Tensor) else value
    return found


def _grid(model: nn.Module) -> dict[str, Any]:
    """Three pictures of 8 by 8 patches of 2 frames, as Qwen's vision towers take them."""
    return {"pixel_values": noise(3 * 64, 3 * 2 * 4 * 4), "image_grid_thw": torch.tensor([[1, 8, 8]] * 3)}


QWEN_TEXT = {**GROUPED, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}}
MARKS = {"image_token_id": IMAGE, "video_token_id": 4, "vision_start_token_id": 1, "vision_end_token_id": 2}
QWEN_SIGHT = {
    "depth": 2,
    "num_heads": 4,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "embed_dim": 32,
    "mlp_ratio": 2,
    "intermediate_size": 48,
    "initializer_range": 0.08,
}
PIECES: dict[str, tuple[dict[str, Any], Callable[[nn.Module], Runs]]] = {
    "llava": (
        {
            "text_config": {**GROUPED, "model_type": "llama"},
            "vision_config": {**PICTURES, "model_type": "clip_vision_model", "projection_dim": 16},
            "image_token_index": IMAGE,
            "image_token_id": IMAGE,
        },
        with_picture(25),
    ),
    "paligemma": (
        {
            "text_config": {**GROUPED, "model_type": "gemma"},
            "vision_config": {**PICTURES, "model_type": "siglip_vision_model", "vision_use_head": False},
            "image_token_index": IMAGE,
            "image_token_id": IMAGE,
            "projection_dim": 32,
            "hidden_size": 32,
        },
        with_picture(25, ("right",)),
    ),
    "gemma3": (
        {
            "text_config": {**GROUPED, "sliding_window": 10},
            "vision_config": {
                **PICTURES,
                "image_size": 16,
                "model_type": "siglip_vision_model",
                "vision_use_head": False,
            },
            "image_token_index": IMAGE,
            "image_token_id": IMAGE,
            "mm_tokens_per_image": 4,
        },
        with_picture(4),
    ),
    "qwen2_vl": (
        {"text_config": QWEN_TEXT, "vision_config": {**QWEN_SIGHT, "hidden_size": 32}, **MARKS},
        with_picture(16, make=_grid),
    ),
    "qwen2_5_vl": (
        {
            "text_config": QWEN_TEXT,
            "vision_config": {
                **QWEN_SIGHT,
                "hidden_size": 32,
                "out_hidden_size": 32,
                "window_size": 16,
                "fullatt_block_indexes": [1],
            },
            **MARKS,
        },
        with_picture(16, make=_grid),
    ),
    "qwen3_vl": (
        {
            "text_config": QWEN_TEXT,
            "vision_config": {
                **QWEN_SIGHT,
                "hidden_size": 32,
                "out_hidden_size": 32,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0],
            },
            **MARKS,
        },
        with_picture(16, make=_grid),
    ),
    "internvl": (
        {
            "text_config": {**GROUPED, "model_type": "qwen2"},
            "vision_config": {**PICTURES, "image_size": [16, 16], "patch_size": [4, 4]},
            "image_token_id": IMAGE,
            "downsample_ratio": 0.5,
        },
        with_picture(4, make=lambda model: {"pixel_values": noise(3, 3, 16, 16)}),
    ),
    "idefics3": (
        {
            "text_config": {**GROUPED, "model_type": "llama"},
            "vision_config": {**PICTURES, "image_size": 16},
            "image_token_id": IMAGE,
            "scale_factor": 2,
        },
        with_picture(4, make=lambda model: {"pixel_values": noise(3, 1, 3, 16, 16)}),
    ),
    "smolvlm": (
        {
            "text_config": {**GROUPED, "model_type": "llama"},
            "vision_config": {**PICTURES, "image_size": 16},
            "image_token_id": IMAGE,
            "scale_factor": 2,
        },
        with_picture(4, make=lambda model: {"pixel_values": noise(3, 1, 3, 16, 16)}),
    ),
    "idefics2": (
        {
            "text_config": {**GROUPED, "model_type": "mistral"},
            "vision_config": {**PICTURES, "image_size": 16},
            "perceiver_config": {
                "resampler_n_latents": 10,
                "resampler_depth": 2,
                "resampler_n_heads": 4,
                "resampler_head_dim": 8,
                "num_key_value_heads": 2,
                "hidden_size": 32,
            },
            "image_token_id": IMAGE,
        },
        with_picture(10, make=lambda model: {"pixel_values": noise(3, 1, 3, 16, 16)}),
    ),
    "blip-2": (
        {
            "vision_config": PICTURES,
            "qformer_config": {**ENCODER, "encoder_hidden_size": 32},
            "text_config": {**ENCODER, "model_type": "opt", "ffn_dim": 48, "word_embed_proj_dim": 32},
            "num_query_tokens": 10,
            "image_token_index": IMAGE,
            "image_token_id": IMAGE,
            "use_decoder_only_language_model": True,
        },
        with_picture(10),
    ),
}
KOSMOS = {
    "text_config": {**SPECIAL, "embed_dim": 32, "layers": 2, "ffn_dim": 48, "attention_heads": 4},
    "vision_config": PICTURES,
    "latent_query_num": 10,
}
BRIDGE = {
    **ENCODER,
    "text_config": ENCODER,
    "vision_config": {**PICTURES, "hidden_size": 64},
    "share_cross_modal_transformer_layers": True,
    "num_hidden_layers": 2,
}
LXMERT = {**ENCODER, "l_layers": 2, "r_layers": 2, "x_layers": 2, "visual_feat_dim": 16}


def _boxes(model: nn.Module) -> dict[str, Any]:
    return {"visual_feats": noise(3, 10, 16), "visual_pos": noise(3, 10, 4).sigmoid()}


def _described(model: nn.Module) -> Runs:
    """A picture into an encoder, text into a decoder."""
    targets = ids(TARGETS, 5)
    target, written = padded(targets, "right")
    picture = noise(3, 3, 20, 20)
    alone = [
        Batch({"pixel_values": picture[row : row + 1], "decoder_input_ids": one[None]})
        for row, one in enumerate(targets)
    ]
    inputs = {"pixel_values": picture, "decoder_input_ids": target, "decoder_attention_mask": written.long()}
    return Runs(alone, {"right": Batch(inputs, (written,))})


VIT_GPT2 = {
    "encoder": {**PICTURES, "model_type": "vit"},
    "decoder": {
        **SPECIAL,
        "model_type": "gpt2",
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "is_decoder": True,
        "add_cross_attention": True,
    },
    **{name: SPECIAL[name] for name in ("pad_token_id", "bos_token_id", "eos_token_id")},
    "decoder_start_token_id": 1,
}
TROCR = {
    **VIT_GPT2,
    "decoder": {
        **SPECIAL,
        **BOTH_SIDES,
        "model_type": "trocr",
        "decoder_layers": 2,
        "cross_attention_hidden_size": 32,
        "is_decoder": True,
        "add_cross_attention": True,
    },
}

CASES = [
    *(case(name, keywords, text("right", extra=pixels), family="two towers") for name, keywords in TWO_TOWERS.items()),
    *(
        case(name, keywords, one_stream(more, before=name in {"git", "flava"}), family="multimodal")
        for name, (keywords, more) in ONE_STREAM.items()
    ),
    *(case(name, keywords, runs, family="multimodal") for name, (keywords, runs) in PIECES.items()),
    case("bridgetower", BRIDGE, text("right", extra=pixels), family="multimodal"),
    case("lxmert", LXMERT, text("right", extra=_boxes), family="multimodal"),
    case(
        "vision-encoder-decoder",
        VIT_GPT2,
        _described,
        family="multimodal",
        row="vision-encoder-decoder (gpt2)",
        cls="VisionEncoderDecoderModel",
    ),
    case(
        "vision-encoder-decoder",
        TROCR,
        _described,
        family="multimodal",
        row="vision-encoder-decoder (trocr)",
        cls="VisionEncoderDecoderModel",
    ),
]
