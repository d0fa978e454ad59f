"""Models of pictures and text together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from architectures.case import Batch, Runs
from architectures.families.made import BOTH_SIDES, ENCODER, PICTURES, SPECIAL, case
from architectures.inputs import TARGETS, ids, noise, padded, pixels, text

TEXT = {**ENCODER, "projection_dim": 16}
SIGHT = {**PICTURES, "projection_dim": 16}
TOWERS = {"text_config": TEXT, "vision_config": SIGHT, "projection_dim": 16}
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
