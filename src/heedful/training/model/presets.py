"""Named model sizes: for tests, for minutes on one core, and from a published study."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from heedful.training.model.decoder_config import HeedfulDecoderConfig


@dataclass(frozen=True)
class Preset:
    """Sizes of a decoder; all other settings are the config's defaults.

    Attributes:
        vocab_size: Tokens; the tokenizer of a run may have fewer.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside SwiGLU.
        num_hidden_layers: Layers.
        num_attention_heads: Query heads.
        num_key_value_heads: Key and value heads.
        head_dim: Dimensions of a head.
        max_position_embeddings: Tokens of a training window.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int

    def config(self, **other: Any) -> HeedfulDecoderConfig:
        """Return a config with these sizes.

        Args:
            other: Fields of the config, which win over the preset's.
        """
        sizes = {field.name: getattr(self, field.name) for field in fields(self)}
        return HeedfulDecoderConfig(**(sizes | other))


PRESETS = {
    "tiny": Preset(512, 64, 192, 2, 4, 2, 16, 64),
    "small": Preset(2048, 192, 512, 6, 6, 3, 32, 128),
    "seed": Preset(49_152, 512, 1344, 22, 8, 4, 64, 2048),
    "narrow": Preset(2048, 128, 336, 22, 2, 1, 64, 2048),
}
"""``tiny`` .1 M parameters, ``small`` 2.8 M, ``seed`` 88 M; ``narrow`` has the layers of ``seed``, and its dimension of
a head, at a quarter of its width, for a CPU.

``seed`` has the layers, widths and heads of a study of how keys evolve in training; its squared-ReLU of width 2,048
is here a SwiGLU of as many parameters (1,344 x 3 for 2,048 x 2).
"""
