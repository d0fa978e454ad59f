"""Config class, for the transformers library, of the decoder with derived attention."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from heedful.ngrams.derivation.encoder import ENCODERS

POSITIONS = ("none", "learned", "sinusoidal", "rotary")
NORMS = ("layer_norm", "none")


class HeedfulDerivedConfig(PreTrainedConfig):
    """Config of a decoder whose attention matrices are computed from n-gram counts instead of learned.

    Attributes:
        vocab_size: Tokens embedded.
        hidden_size: Width of the residual stream and of the embeddings.
        intermediate_size: Width inside the feed-forward part; 0 for none.
        num_hidden_layers: Layers.
        num_attention_heads: Heads a layer; 0 for layers without attention.
        head_dim: Dimensions of a head: how many components of a factorisation it can hold.
        max_position_embeddings: Most tokens of a sequence where positions are learned; heads that look back are exact
            up to it.
        positions: ``none``, ``learned`` or ``sinusoidal`` vectors added to tokens, or ``rotary`` queries and keys.
        attention_input: ``layer_norm`` before each attention, or ``none``.
        final_norm: Whether a layer norm stands before the head.
        context: Last tokens that each layer's queries read, one number a layer.
        offsets: For each layer and head, how many tokens back it attends, or None where queries and keys decide.
        frozen_attention: Whether the attention matrices take no gradient.
        frozen_embeddings: Whether the embeddings take no gradient.
        linked_encoder: A key of ``ENCODERS`` by which the attention follows its embeddings when told to; None where
            it does not, and keeps no factors.
        copies: Whether linked values copy embeddings and are no factors of counts.
        embedding_fingerprint: SHA-256 of the embeddings that the matrices were derived for; None where they were not.
        tie_word_embeddings: Whether the head is the embedding.

    Raises:
        ValueError: Sizes or words that do not go together.
    """

    model_type = "heedful_derived"

    vocab_size: int = 512
    hidden_size: int = 64
    intermediate_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    head_dim: int = 32
    max_position_embeddings: int = 256
    positions: str = "none"
    attention_input: str = "layer_norm"
    final_norm: bool = True
    context: list[int] | None = None
    offsets: list[list[int | None]] | None = None
    frozen_attention: bool = True
    frozen_embeddings: bool = True
    linked_encoder: str | None = None
    copies: bool = False
    embedding_fingerprint: str | None = None
    layer_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    use_cache: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.context is None:
            self.context = [1] * self.num_hidden_layers
        if self.offsets is None:
            self.offsets = [[None] * self.num_attention_heads for _ in range(self.num_hidden_layers)]
        _check(self)
        super().__post_init__(**kwargs)


def _check(config: HeedfulDerivedConfig) -> None:
    for name, least in (
        ("vocab_size", 1),
        ("hidden_size", 1),
        ("num_hidden_layers", 1),
        ("max_position_embeddings", 1),
    ):
        _whole(name, getattr(config, name), least)
    _whole("intermediate_size", config.intermediate_size, 0)
    _whole("num_attention_heads", config.num_attention_heads, 0)
    _whole("head_dim", config.head_dim, 2)
    if config.head_dim % 2:
        raise ValueError(f"head_dim = {config.head_dim}: expected an even number")
    for name, words in (("positions", POSITIONS), ("attention_input", NORMS)):
        if getattr(config, name) not in words:
            raise ValueError(f"{name} = {getattr(config, name)!r}: expected one of {', '.join(words)}")
    if config.positions == "sinusoidal" and config.hidden_size % 2:
        raise ValueError(f"hidden_size = {config.hidden_size}: sinusoidal positions want an even number")
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    if len(config.context or ()) != layers or any(not isinstance(n, int) or n < 1 for n in config.context or ()):
        raise ValueError(f"context = {config.context}: expected {layers} whole numbers from 1 on, one a layer")
    if config.linked_encoder is not None and config.linked_encoder not in ENCODERS:
        raise ValueError(f"linked_encoder = {config.linked_encoder!r}: expected one of {', '.join(ENCODERS)}")
    offsets = config.offsets or []
    if len(offsets) != layers or any(len(row) != heads for row in offsets):
        raise ValueError(f"offsets = {offsets}: expected {layers} layers of {heads} heads")
    if any(back is not None and (not isinstance(back, int) or back < 0) for row in offsets for back in row):
        raise ValueError(f"offsets = {offsets}: expected whole numbers from 0 on, or None")


def _whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} = {value!r}: expected a whole number from {least} on")
