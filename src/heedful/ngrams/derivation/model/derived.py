"""Decoder model for the transformers library with attention derived from counts and frozen; other weights are
trainable.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import can_return_tuple

from heedful.errors import InputRejected
from heedful.loading.model_types import ModelType, add_model_type
from heedful.ngrams.derivation.embeddings import fingerprint
from heedful.ngrams.derivation.model.attention.corpus_derived import CorpusDerivedAttention
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig
from heedful.training.model.attention.softmax import Rotation, rotation
from heedful.training.model.language_head import CACHE, CACHE_NAMES, LanguageHead, for_model, no_cache, one_cache
from heedful.training.saved_card import CardedModel


class DerivedLayer(GradientCheckpointingLayer):
    """Derived attention, then a learned feed-forward part, each added to the residual stream."""

    def __init__(self, config: HeedfulDerivedConfig, layer: int) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.attention = CorpusDerivedAttention(config, layer) if config.num_attention_heads else None
        self.input_norm = _fixed_norm(width, eps) if config.attention_input == "layer_norm" else None
        self.feed_forward = None
        if config.intermediate_size:
            self.feed_forward = nn.Sequential(
                nn.LayerNorm(width, eps=eps),
                nn.Linear(width, config.intermediate_size),
                nn.GELU(),
                nn.Linear(config.intermediate_size, width),
            )

    def forward(self, hidden: Tensor, position_ids: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
        """Return hidden states ``(batch, token, width)``, and attention weights if the kernel returns them."""
        weights = None
        if self.attention is not None:
            fed = hidden if self.input_norm is None else self.input_norm(hidden)
            taken, weights = self.attention(fed, position_ids, **options)
            hidden = hidden + taken
        if self.feed_forward is not None:
            hidden = hidden + self.feed_forward(hidden)
        return hidden, weights


def _fixed_norm(width: int, eps: float) -> nn.LayerNorm:
    """A norm without gain: derived matrices know what it gives, and training does not move it."""
    return nn.LayerNorm(width, eps=eps, elementwise_affine=False)


class HeedfulDerivedPreTrainedModel(CardedModel):
    """Base class that transformers requires of all models with this config."""

    config_class = HeedfulDerivedConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DerivedLayer"]  # noqa: RUF012  # as in every model of transformers
    _supports_sdpa = True
    _supports_attention_backend = True

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a model and freeze what its config marks as frozen."""
        found = super().from_pretrained(*args, **kwargs)
        (found[0] if isinstance(found, tuple) else found).freeze()
        return found

    def untrained_config(self) -> HeedfulDerivedConfig:
        """Return a copy of the config for models with random weights, without embedding fingerprint and stored
        factors.
        """
        config: Any = copy.deepcopy(self.config)
        config.embedding_fingerprint = config.linked_encoder = None
        found: HeedfulDerivedConfig = config
        return found

    def freeze(self) -> None:
        """Set ``requires_grad`` to False for the parts that the config marks as frozen."""
        self.get_input_embeddings().requires_grad_(not self.config.frozen_embeddings)
        for part in self.modules():
            if isinstance(part, CorpusDerivedAttention):
                part.requires_grad_(not self.config.frozen_attention)
                if part.attends_by_offset:
                    for unused in (part.q_proj, part.k_proj):
                        unused.requires_grad_(False)


class HeedfulDerivedModel(HeedfulDerivedPreTrainedModel):
    """The derived decoder without a language head.

    Args:
        config: Sizes and choices.
    """

    def __init__(self, config: HeedfulDerivedConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(DerivedLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.final_norm else nn.Identity()
        self.gradient_checkpointing = False
        self._checked: tuple[int, int] | None = None
        self.post_init()
        self.freeze()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        cache: Cache | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **options: Any,
    ) -> BaseModelOutputWithPast:
        """Return the hidden states of every token; arguments as in transformers' decoders, without a cache.

        Raises:
            ValueError: Both ids and embeddings were given, or neither, or more tokens than there are learned positions,
                or a mask of another number of tokens.
            TypeError: An option is nobody's, or a cache was given.
            InputRejected: The embeddings are not those that the matrices were derived for.
        """
        no_cache(self, one_cache(cache, past_key_values))
        options = for_model(self, options)
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected input_ids or inputs_embeds, and not both")
        self._check_fingerprint()
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if self.config.positions == "learned" and hidden.shape[1] > self.config.max_position_embeddings:
            raise ValueError(f"{hidden.shape[1]} tokens: expected at most {self.config.max_position_embeddings}")
        real = _of_tokens(attention_mask, hidden.shape[1])
        if position_ids is None:
            position_ids = torch.arange(hidden.shape[1], device=hidden.device)[None]
            if real is not None:
                position_ids = (real.long().cumsum(-1) - 1).clamp_min(0)
        hidden = self._placed(hidden, position_ids)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            **{CACHE: None},
            position_ids=position_ids,
        )
        turn: Rotation | None = None
        if self.config.positions == "rotary":
            turn = rotation(position_ids, self.config.head_dim, self.config.rope_theta, hidden.dtype)
        states, weights = [hidden], []
        for layer in self.layers:
            hidden, taken = layer(hidden, position_ids, turn=turn, real=real, attention_mask=mask, **options)
            states.append(hidden)
            weights.append(taken)
        hidden = states[-1] = self.norm(hidden)
        every = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        shown = self.config.output_attentions if output_attentions is None else output_attentions
        return BaseModelOutputWithPast(
            last_hidden_state=hidden,
            hidden_states=tuple(states) if every else None,
            attentions=tuple(weights) if shown else None,
        )

    def _placed(self, hidden: Tensor, position_ids: Tensor) -> Tensor:
        if self.config.positions == "learned":
            return hidden + self.embed_positions(position_ids)
        if self.config.positions == "sinusoidal":
            return hidden + sinusoids(position_ids, self.config.hidden_size, hidden.dtype)
        return hidden

    def _check_fingerprint(self) -> None:
        """Weights derived for one embedding mean nothing under another: look once after each change of the tensor."""
        wanted, rows = self.config.embedding_fingerprint, self.embed_tokens.weight
        if wanted is None or not self.config.frozen_embeddings or rows.is_meta or torch.compiler.is_compiling():
            return
        now = (rows.data_ptr(), rows._version)
        if now == self._checked:
            return
        found = fingerprint(rows.detach().float().cpu().numpy())
        if rows.dtype == torch.float32 and found != wanted:
            raise InputRejected(
                "embed_tokens",
                f"its fingerprint is {found[:12]}..., and the attention was derived for {wanted[:12]}...",
                "load the embeddings that were saved with it, or derive the attention again",
            )
        self._checked = now


def _of_tokens(mask: Tensor | None, tokens: int) -> Tensor | None:
    """The mask where it says which tokens are real; it must be of all that are given, for no earlier ones are kept."""
    if mask is None or mask.dim() != 2:
        return None
    if mask.shape[1] != tokens:
        raise ValueError(
            f"attention_mask of {mask.shape[1]} tokens beside {tokens}: expected all, for no cache is kept"
        )
    return mask


def sinusoids(position_ids: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return sines and cosines of positions, ``(batch, token, width)``. Source: Vaswani et al. 2017,
    arXiv:1706.03762.
    """
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=position_ids.device)
    angles = position_ids[..., None].float() * torch.exp(-math.log(10_000.0) * steps / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).to(dtype)


class HeedfulDerivedForCausalLM(LanguageHead, HeedfulDerivedPreTrainedModel, GenerationMixin):
    """The derived decoder with a language head, tied to the embedding if the config says so."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012  # transformers' own attribute

    def __init__(self, config: HeedfulDerivedConfig) -> None:
        super().__init__(config)
        self.model = HeedfulDerivedModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self.freeze()

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, next_sequence_length: int | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Pass all tokens at every step, because the model has no cache.

        Raises:
            TypeError: A cache that holds earlier tokens was given.
        """
        kwargs.pop("use_cache", None)
        for name in CACHE_NAMES:
            held = kwargs.pop(name, None)
            no_cache(self, held if held is not None and held.get_seq_length() else None)
        found: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, **kwargs)
        return found


add_model_type(ModelType(HeedfulDerivedConfig, HeedfulDerivedModel, HeedfulDerivedForCausalLM))
