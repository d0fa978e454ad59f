"""Decoders of text in which some positions hold pieces of a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from architectures.case import Batch, Runs
from architectures.families.made import ENCODER, GROUPED, PICTURES, case
from architectures.inputs import LENGTHS, accepts, ids, noise, padded, pixels

IMAGE = 3
"""Token id that stands for a piece of the picture."""


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

CASES = [case(name, keywords, runs, family="multimodal") for name, (keywords, runs) in PIECES.items()]
