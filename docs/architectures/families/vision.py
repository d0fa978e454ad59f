"""Models of pictures and films."""

from __future__ import annotations

from typing import Any

from architectures.families.made import BOTH_SIDES, PICTURES, case
from architectures.inputs import noise, pixels, whole

STAGES = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
    "num_channels": 3,
}
RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "out_features": ["stage2"],
}
BACKBONE = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "backbone_config": RESNET,
}
DETECTOR = {**BOTH_SIDES, **BACKBONE, "num_queries": 10}
PYRAMID = {
    "image_size": 32,
    "num_encoder_blocks": 2,
    "depths": [2, 2],
    "sr_ratios": [2, 1],
    "hidden_sizes": [16, 32],
    "patch_sizes": [4, 2],
    "strides": [4, 2],
    "num_attention_heads": [2, 4],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 16,
}
PIXELS: dict[str, dict[str, Any]] = {
    "vit": PICTURES,
    "deit": PICTURES,
    "beit": PICTURES,
    "data2vec-vision": PICTURES,
    "dinov2": PICTURES,
    "dinov2_with_registers": PICTURES,
    "dinov3_vit": PICTURES,
    "ijepa": PICTURES,
    "vit_mae": {**PICTURES, "mask_ratio": 0.25},
    "vit_msn": PICTURES,
    "siglip_vision_model": PICTURES,
    "clip_vision_model": {**PICTURES, "projection_dim": 16},
    "aimv2_vision_model": PICTURES,
    "mlcd_vision_model": PICTURES,
    "yolos": {**PICTURES, "image_size": [20, 20], "num_detection_tokens": 4},
    "vitdet": PICTURES,
    "dpt": {**PICTURES, "backbone_out_indices": [0, 1], "neck_hidden_sizes": [8, 16], "is_hybrid": False},
    "swin": STAGES,
    "swinv2": STAGES,
    "donut-swin": STAGES,
    "swin2sr": {**STAGES, "image_size": 8, "patch_size": 1, "upscale": 2},
    "hiera": {
        "image_size": [32, 32],
        "patch_size": [3, 3],
        "patch_stride": [4, 4],
        "patch_padding": [1, 1],
        "embed_dim": 16,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "query_stride": [2, 2],
        "num_query_pool": 1,
        "masked_unit_size": [4, 4],
        "masked_unit_attention": [True, False],
    },
    "focalnet": {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "hidden_sizes": [16, 32]},
    "segformer": PYRAMID,
    "glpn": PYRAMID,
    "pvt": {**PYRAMID, "sequence_reduction_ratios": [2, 1]},
    "pvt_v2": {**PYRAMID, "image_size": 32, "mlp_ratios": [2, 2]},
    "cvt": {
        "patch_sizes": [7, 3],
        "patch_stride": [4, 2],
        "patch_padding": [2, 1],
        "embed_dim": [16, 32],
        "num_heads": [2, 4],
        "depth": [1, 2],
        "mlp_ratio": [2.0, 2.0],
        "attention_drop_rate": [0.0, 0.0],
        "drop_rate": [0.0, 0.0],
        "drop_path_rate": [0.0, 0.0],
        "qkv_bias": [True, True],
        "cls_token": [False, True],
        "qkv_projection_method": ["dw_bn", "dw_bn"],
        "kernel_qkv": [3, 3],
        "padding_kv": [1, 1],
        "stride_kv": [2, 2],
        "padding_q": [1, 1],
        "stride_q": [1, 1],
    },
    "levit": {
        "image_size": 64,
        "hidden_sizes": [16, 24, 32],
        "num_attention_heads": [2, 3, 4],
        "depths": [1, 1, 1],
        "key_dim": [8, 8, 8],
        "mlp_ratio": [2, 2, 2],
        "attention_ratio": [2, 2, 2],
    },
    "mobilevit": {
        "initializer_range": 0.15,
        "image_size": 64,
        "hidden_sizes": [16, 20, 24],
        "neck_hidden_sizes": [8, 8, 12, 16, 20, 24, 32],
        "num_attention_heads": 4,
    },
    "mobilevitv2": {"image_size": 64, "base_attn_unit_dims": [16, 16, 16], "n_attn_blocks": [1, 1, 1]},
    "detr": DETECTOR,
    "conditional_detr": DETECTOR,
    "dab-detr": {**DETECTOR, "hidden_size": 32},
    "deformable_detr": {**DETECTOR, "num_feature_levels": 1, "encoder_n_points": 2, "decoder_n_points": 2},
    "table-transformer": DETECTOR,
}


def _film(frames: int) -> Any:
    return whole(lambda model: {"pixel_values": noise(2, frames, 3, 20, 20)})


FILMS: dict[str, tuple[dict[str, Any], Any]] = {
    "videomae": ({**PICTURES, "num_frames": 4, "tubelet_size": 2}, _film(4)),
    "vivit": ({**PICTURES, "num_frames": 4, "tubelet_size": [2, 4, 4]}, _film(4)),
    "timesformer": ({**PICTURES, "num_frames": 2}, _film(2)),
    "vjepa2": (
        {
            **PICTURES,
            "crop_size": 20,
            "frames_per_clip": 4,
            "tubelet_size": 2,
            "pred_hidden_size": 32,
            "pred_num_hidden_layers": 1,
            "pred_num_attention_heads": 4,
            "pred_num_mask_tokens": 2,
        },
        whole(lambda model: {"pixel_values_videos": noise(2, 4, 3, 20, 20)}),
    ),
}

CASES = [
    *(case(name, keywords, whole(pixels), family="vision") for name, keywords in PIXELS.items()),
    *(case(name, keywords, runs, family="vision") for name, (keywords, runs) in FILMS.items()),
]
