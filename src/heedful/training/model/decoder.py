"""The reference decoder for transformers: pre-norm layers with an attention variant and SwiGLU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import can_return_tuple

from heedful.loading.model_types import ModelType, add_model_type
from heedful.training.model.attention.softmax import VARIANTS, RMSNorm, Rotation, rotation
from heedful.training.model.decoder_config import HeedfulDecoderConfig
from heedful.training.model.language_head import CACHE, CACHE_NAMES, LanguageHead, cache_to_fill, for_model, one_cache
from heedful.training.saved_card import CardedModel


class SwiGLU(nn.Module):
    """``down(silu(gate(x)) * up(x))``, without biases. Source: Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Apply the layer; input and output are ``(batch, token, width)``."""
        return self.down_proj(nn.functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class DecoderLayer(GradientCheckpointingLayer):
    """Pre-norm decoder layer around a given attention module."""

    def __init__(self, config: HeedfulDecoderConfig, attention: nn.Module) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = attention
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(self, hidden: Tensor, turn: Rotation, **options: Any) -> tuple[Tensor, Tensor | None]:
        """Return hidden states ``(batch, token, width)``, and attention weights if the kernel returns them."""
        held = options.pop(CACHE, None)  # transformers' layers know a cache by the name of the day, variants by one
        taken, weights = self.self_attn(self.input_layernorm(hidden), turn, cache=held, **options)
        hidden = hidden + taken
        return hidden + self.mlp(self.post_attention_layernorm(hidden)), weights


class HeedfulDecoderPreTrainedModel(CardedModel):
    """Base class that transformers requires of all models with this config."""

    config_class = HeedfulDecoderConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DecoderLayer"]  # noqa: RUF012  # as in every model of transformers
    _skip_keys_device_placement = CACHE_NAMES
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True


class HeedfulDecoderModel(HeedfulDecoderPreTrainedModel):
    """The reference decoder without a language head.

    Args:
        config: Sizes and choices.

    Raises:
        ValueError: The config names an attention variant that does not exist.
    """

    def __init__(self, config: HeedfulDecoderConfig) -> None:
        super().__init__(config)
        if config.attention not in VARIANTS:
            raise ValueError(f"attention {config.attention!r}: expected one of {', '.join(sorted(VARIANTS))}")
        variant = VARIANTS[config.attention]
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        layers = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(DecoderLayer(config, variant(config, layer)) for layer in layers)
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **options: Any,
    ) -> BaseModelOutputWithPast:
        """Return the hidden states of every token; arguments as in transformers' decoders.

        Raises:
            ValueError: Both ids and embeddings were given, or neither.
            TypeError: An option is nobody's, or a cache came under both names.
        """
        options = for_model(self, options)
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected input_ids or inputs_embeds, and not both")
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        filled = cache_to_fill(self, one_cache(cache, past_key_values), use_cache)
        held: dict[str, Any] = {CACHE: filled}
        if position_ids is None:
            seen = 0 if filled is None else filled.get_seq_length()
            position_ids = (torch.arange(hidden.shape[1], device=hidden.device) + seen)[None]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **held,
        )
        turn = rotation(position_ids, self.config.head_dim, self.config.rope_theta, hidden.dtype)
        states, weights = [hidden], []
        for layer in self.layers:
            hidden, taken = layer(hidden, turn, attention_mask=mask, **held, **options)
            states.append(hidden)
            weights.append(taken)
        hidden = states[-1] = self.norm(hidden)
        every = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        shown = self.config.output_attentions if output_attentions is None else output_attentions
        return BaseModelOutputWithPast(
            last_hidden_state=hidden,
            hidden_states=tuple(states) if every else None,
            attentions=tuple(weights) if shown else None,
            **held,
        )


class HeedfulDecoderForCausalLM(LanguageHead, HeedfulDecoderPreTrainedModel, GenerationMixin):
    """The reference decoder with a language head, tied to the embedding if the config says so."""

    _tp_plan = {"lm_head": "colwise_gather_output"}  # noqa: RUF012  # transformers' own attribute, as the next
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012  # transformers' own attribute

    def __init__(self, config: HeedfulDecoderConfig) -> None:
        super().__init__(config)
        self.model = HeedfulDecoderModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


add_model_type(ModelType(HeedfulDecoderConfig, HeedfulDecoderModel, HeedfulDecoderForCausalLM))
