"""Models of sound and of series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from architectures.case import Batch, Runs
from architectures.families.made import BOTH_SIDES, ENCODER, GROUPED, SIZES, SPECIAL, case
from architectures.inputs import TARGETS, ids, noise, padded, whole

SPEECH = {
    **SPECIAL,
    **SIZES,
    "intermediate_size": 48,
    "conv_dim": (16, 16),
    "conv_kernel": (4, 4),
    "conv_stride": (4, 4),
    "num_feat_extract_layers": 2,
    "feat_extract_norm": "layer",
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
    "apply_spec_augment": False,
    "conv_depthwise_kernel_size": 3,
}
SAMPLES = (384, 272, 208)
"""Of which two convolutions of stride 4 make 24, 17 and 13 positions."""

WAVES: dict[str, dict[str, Any]] = {
    "wav2vec2": SPEECH,
    "wav2vec2-conformer": SPEECH,
    "hubert": SPEECH,
    "wavlm": {**SPEECH, "num_buckets": 16, "max_bucket_distance": 32},
    "unispeech": SPEECH,
    "unispeech-sat": SPEECH,
    "data2vec-audio": {**SPEECH, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3},
    "sew": {**SPEECH, "squeeze_factor": 1},
    "sew-d": {**SPEECH, "squeeze_factor": 1},
}


def waves(model: nn.Module) -> Runs:
    """Sounds of three lengths, padded on the right."""
    sounds = [noise(length, seed=4 + row) for row, length in enumerate(SAMPLES)]
    values, real = padded(sounds, "right")
    frames = real[:, ::16]
    alone = [Batch({"input_values": one[None]}) for one in sounds]
    return Runs(alone, {"right": Batch({"input_values": values, "attention_mask": real.long()}, (frames,))})


def _frames(name: str, width: int, lengths: tuple[int, ...], shorter: int = 1) -> Callable[[nn.Module], Runs]:
    """Feature frames ``(position, width)``, of which the model makes ``shorter`` times fewer positions."""

    def runs(model: nn.Module) -> Runs:
        frames = [noise(length, width, seed=4 + row) for row, length in enumerate(lengths)]
        values, real = padded(frames, "right")
        return Runs(
            [Batch({name: one[None]}) for one in frames],
            {"right": Batch({name: values, "attention_mask": real.long()}, (real[:, ::shorter],))},
        )

    return runs


def _spoken(name: str, width: int, time_last: bool, masked: bool = False) -> Callable[[nn.Module], Runs]:
    """Frames into an encoder, tokens of three lengths into a decoder."""

    def runs(model: nn.Module) -> Runs:
        frames = noise(3, 96, width)
        frames = frames.transpose(1, 2).contiguous() if time_last else frames
        targets = ids(TARGETS, 5)
        target, written = padded(targets, "right")
        alone = [
            Batch({name: frames[row : row + 1], "decoder_input_ids": one[None]}) for row, one in enumerate(targets)
        ]
        inputs: dict[str, Any] = {name: frames, "decoder_input_ids": target, "decoder_attention_mask": written.long()}
        if masked:
            inputs["attention_mask"] = torch.ones(3, 96, dtype=torch.long)
        return Runs(alone, {"right": Batch(inputs, (written,))})

    return runs


WHISPER = {
    **BOTH_SIDES,
    "num_mel_bins": 8,
    "max_source_positions": 48,
    "max_target_positions": 64,
    "suppress_tokens": [],
    "begin_suppress_tokens": [],
}
SPEECH_TO_TEXT = {**WHISPER, "input_feat_per_channel": 8, "conv_channels": 16, "max_source_positions": 200}
MOONSHINE = {
    **GROUPED,
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 2,
    "encoder_num_attention_heads": 4,
    "decoder_num_attention_heads": 4,
    "decoder_start_token_id": 1,
}
CLAP = {
    "text_config": {**ENCODER, "projection_dim": 16, "max_position_embeddings": 80},
    "audio_config": {
        "window_size": 4,
        "num_mel_bins": 8,
        "spec_size": 32,
        "patch_size": 4,
        "depths": [2, 2],
        "num_attention_heads": [2, 4],
        "patch_embeds_hidden_size": 16,
        "hidden_size": 32,
        "projection_dim": 16,
        "num_hidden_layers": 2,
        "aff_block_r": 2,
    },
    "projection_dim": 16,
}


def _series(length: int) -> Callable[[nn.Module], dict[str, Any]]:
    def inputs(model: nn.Module) -> dict[str, Any]:
        config: Any = model.config
        past = length + max(config.lags_sequence)
        ones: Callable[[int], Tensor] = lambda count: torch.ones(3, count)  # noqa: E731
        return {
            "past_values": noise(3, past),
            "past_time_features": noise(3, past, 1),
            "past_observed_mask": ones(past),
            "future_values": noise(3, 12),
            "future_time_features": noise(3, 12, 1),
        }

    return inputs


SERIES = {
    **{name: value for name, value in BOTH_SIDES.items() if name not in SPECIAL},
    "prediction_length": 12,
    "context_length": 24,
    "lags_sequence": [1, 2, 3],
    "num_time_features": 1,
    "init_std": 0.08,
}
PATCHES = {
    "context_length": 96,
    "patch_length": 4,
    "patch_stride": 4,
    "d_model": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
}
FEATURES = {**SPEECH, "feature_projection_input_dim": 8, "add_adapter": False}
SPECTRUM = {**SIZES, "intermediate_size": 48, "patch_size": 4, "max_length": 24, "num_mel_bins": 12}


def _spoken_waves(model: nn.Module) -> Runs:
    """A sound of one length into an encoder, tokens of three lengths into a decoder."""
    sounds, targets = noise(3, 12000), ids(TARGETS, 5)
    target, written = padded(targets, "right")
    alone = [
        Batch({"input_values": sounds[row : row + 1], "decoder_input_ids": one[None]})
        for row, one in enumerate(targets)
    ]
    inputs = {"input_values": sounds, "decoder_input_ids": target, "decoder_attention_mask": written.long()}
    return Runs(alone, {"right": Batch(inputs, (written,))})


def _clap(model: nn.Module) -> dict[str, Any]:
    return {"input_features": noise(3, 1, 128, 8), "input_ids": torch.stack(ids((24, 24, 24)))}


SPECTRUM |= {"frequency_stride": 4, "time_stride": 4}
SEEN: dict[str, tuple[dict[str, Any], Callable[[nn.Module], Runs], str]] = {
    "wav2vec2-bert": (FEATURES, _frames("input_features", 8, (24, 17, 13)), "sound"),
    "whisper": (WHISPER, _spoken("input_features", 8, True), "sound"),
    "speech_to_text": (SPEECH_TO_TEXT, _spoken("input_features", 8, False), "sound"),
    "moonshine": (MOONSHINE, _spoken_waves, "sound"),
    "clap": (CLAP, whole(_clap), "sound"),
    "audio-spectrogram-transformer": (SPECTRUM, whole(lambda model: {"input_values": noise(3, 24, 12)}), "sound"),
    "time_series_transformer": (SERIES, whole(_series(24)), "series"),
    "informer": ({**SERIES, "attention_type": "full", "distil": False}, whole(_series(24)), "series"),
    "autoformer": ({**SERIES, "label_length": 6, "moving_average": 5}, whole(_series(24)), "series"),
    "patchtst": ({**PATCHES, "num_input_channels": 2}, whole(lambda model: {"past_values": noise(3, 96, 2)}), "series"),
}

CASES = [
    *(case(name, keywords, waves, family="sound") for name, keywords in WAVES.items()),
    *(case(name, keywords, runs, family=family) for name, (keywords, runs, family) in SEEN.items()),
]
