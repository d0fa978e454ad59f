"""The reference decoder's config for transformers: sizes and options.

Named model sizes: for tests, for minutes on one core, and from a published study.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from transformers import PreTrainedConfig


class HeedfulDecoderConfig(PreTrainedConfig):
    """Config of the reference decoder, with the field names of Llama and Qwen3.

    Attributes:
        attention: Name of the attention variant, a key of ``heedful.training.model.attention.softmax.VARIANTS``.
        qk_norm: Whether queries and keys of each head are brought to unit mean square, times a learned gain.
        vocab_size: Tokens embedded.
        hidden_size: Width of the residual stream.
        intermediate_size: Width inside SwiGLU.
        num_hidden_layers: Layers.
        num_attention_heads: Query heads a layer.
        num_key_value_heads: Key and value heads a layer; None for as many as query heads.
        head_dim: Dimensions of a head; None for the width over the number of heads.
        max_position_embeddings: Tokens that it is trained on; rotary positions go on beyond.
        rope_theta: Base of the rotary wavelengths.
        rms_norm_eps: Added to mean squares before their root.
        initializer_range: Standard deviation of untrained matrices.
        attention_dropout: Share of weights dropped in training.
        tie_word_embeddings: Whether the head is the embedding.
        use_cache: Whether keys and values are kept by default.

    Raises:
        ValueError: Sizes that do not go together.
    """

    model_type = "heedful_decoder"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]  # noqa: RUF012  # the Trainer adds a list to it
    base_model_tp_plan = {  # noqa: RUF012  # transformers' own attribute: how processes divide the heads of each layer
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.q_norm": "replicated_with_grad_allreduce",
        "layers.*.self_attn.k_norm": "replicated_with_grad_allreduce",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
    }

    attention: str = "softmax"
    qk_norm: bool = True
    vocab_size: int = 512
    hidden_size: int = 64
    intermediate_size: int = 192
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 128
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    attention_dropout: float = 0.0
    tie_word_embeddings: bool = True
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        _check(self)
        super().__post_init__(**kwargs)


def _check(config: HeedfulDecoderConfig) -> None:
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        size = getattr(config, name)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} = {size!r}: expected a whole number from 1 on")
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    if not shared or shared < 1 or heads % shared:
        raise ValueError(f"num_key_value_heads = {shared}: expected a divisor of the {heads} query heads")
    if not config.head_dim or config.head_dim < 2 or config.head_dim % 2:
        raise ValueError(f"head_dim = {config.head_dim}: expected an even number, for rotations turn pairs")


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
