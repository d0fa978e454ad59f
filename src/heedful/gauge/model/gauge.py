"""The gauge transformer in transformers: tokens are Gaussian beliefs in frames and attend by KL divergence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, initialization
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import can_return_tuple

from heedful.errors import UsageError
from heedful.gauge.beliefs import own_divergence
from heedful.gauge.layout import BeliefLayout, TokenBeliefs
from heedful.gauge.model.attention.gauge_kl import DivergenceHeads, GaugeKLAttention, canonical
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.gauge.model.gauge_feed_forward import FIRST_RATE, BeliefNorm, LearnedFeedForward, VariationalFeedForward
from heedful.gauge.model.gauge_tables import BeliefTable, BeliefTables
from heedful.loading.model_types import ModelType, add_model_type
from heedful.training.model.language_head import CACHE, CACHE_NAMES, LanguageHead, cache_to_fill, for_model, one_cache
from heedful.training.saved_card import CardedModel


class GaugeLayer(GradientCheckpointingLayer):
    """One layer: attention by divergence, then the feed-forward part that the config names."""

    def __init__(self, config: GaugeConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        width = int(config.hidden_size or 0)
        self.self_attn = GaugeKLAttention(config, layer)
        self.mlp: nn.Module | None = None
        if config.feed_forward == "learned":
            self.mlp = LearnedFeedForward(config)
        elif config.feed_forward == "variational":
            self.mlp = VariationalFeedForward(config, layer)
        self.input_layernorm = BeliefNorm(width) if config.layer_norm else nn.Identity()
        normed = config.layer_norm and config.feed_forward == "learned"
        self.post_attention_layernorm = BeliefNorm(width) if normed else nn.Identity()

    def forward(
        self, hidden: Tensor, spread: TokenBeliefs, prior: TokenBeliefs, frames: tuple[Tensor, ...], **options: Any
    ) -> tuple[Tensor, TokenBeliefs, Tensor | None, Tensor | None]:
        """Return new means ``(batch, token, width)``, covariances, weights, and divergence from the attended keys."""
        options["cache"] = options.pop(CACHE, None)
        message, weights, around, alignment = self.self_attn(self.input_layernorm(hidden), spread, frames, **options)
        hidden = hidden + message if self.config.residual else message
        if isinstance(self.mlp, VariationalFeedForward):
            kernel = {name: given for name, given in options.items() if name not in _ATTENTION_OWN}
            spread = self.mlp(hidden, spread, prior, frames, around, **kernel)
            hidden = spread.mean
        elif self.mlp is not None:
            mapped = self.mlp(self.post_attention_layernorm(hidden))
            hidden = hidden + mapped if self.config.residual else mapped
        return hidden, spread, weights, alignment


_ATTENTION_OWN = ("attention_mask", "cache", "aligned")


@dataclass
class GaugeOutput(BaseModelOutputWithPast):
    """Output of the gauge transformer without a language head.

    Attributes:
        alignment: Mean over layers and heads of each token's divergence from what it attends to, ``(batch, token)``.
        prior: Mean over heads of its divergence from the belief that was embedded, ``(batch, token)``; both None where
            they were not asked for.
    """

    alignment: Tensor | None = None
    prior: Tensor | None = None


class GaugePreTrainedModel(CardedModel):
    """Base class that transformers requires of all models with this config."""

    config_class = GaugeConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["GaugeLayer"]  # noqa: RUF012  # as in every model of transformers
    _skip_keys_device_placement = CACHE_NAMES
    undecayed = ("beliefs.", "log_kappa", "log_rate")
    """What weight decay would pull to a prior that nobody chose: equal means, and temperatures and rates of 1."""

    _supports_sdpa = True
    _supports_flex_attn = True

    def _init_weights(self, module: nn.Module) -> None:
        """Each table and matrix with its own deviation: one for all would leave every divergence at 0."""
        if isinstance(module, BeliefTable):
            initialization.normal_(module.weight, std=module.deviation)
        elif isinstance(module, DivergenceHeads):
            initialization.copy_(module.log_kappa, module.start())
            initialization.zeros_(module.calibrated)
            if isinstance(module, VariationalFeedForward):
                initialization.constant_(module.log_rate, math.log(FIRST_RATE))
        elif isinstance(module, nn.Linear):
            initialization.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            initialization.ones_(module.weight)
            initialization.zeros_(module.bias)

    @torch.no_grad()
    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Change the number of tokens in the head and in all tables that have one row per token, and return the table
        of means.

        Args:
            new_num_tokens: Tokens; None keeps their number.
            pad_to_multiple_of: Of which it shall be a multiple.
            mean_resizing: Whether new rows are the means of those there; otherwise they are drawn like untrained ones.

        Returns:
            The table of means.

        Raises:
            UsageError: No token would be left.
        """
        count = self.config.vocab_size if new_num_tokens is None else new_num_tokens
        count = -(-count // pad_to_multiple_of) * pad_to_multiple_of if pad_to_multiple_of else count
        if count < 1:
            raise UsageError(f"resize_token_embeddings: expected 1 token or more, got {count}")
        inner: Any = getattr(self, "model", self)
        beliefs = inner.beliefs
        for name in ("mean", "log_variance", "shear", "frame"):
            table = getattr(beliefs, name)
            if table is not None:
                setattr(beliefs, name, table.resized(count, mean_resizing))
        head = getattr(self, "lm_head", None)
        if head is not None:
            own = BeliefTable.of(head.weight, head.in_features**-0.5).resized(count, mean_resizing)
            head.weight, head.out_features = own.weight, count
        self.config.vocab_size = count
        self.tie_weights()
        return beliefs.mean  # type: ignore[no-any-return]


class GaugeModel(GaugePreTrainedModel):
    """The gauge transformer without a language head.

    Args:
        config: Sizes and choices.
    """

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__(config)
        self.beliefs = BeliefTables(config)
        self.layers = nn.ModuleList(GaugeLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.gradient_checkpointing = False
        self.post_init()

    @property
    def layout(self) -> BeliefLayout:
        """Assignment of belief columns to heads."""
        return self.beliefs.layout

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of means."""
        return self.beliefs.mean

    def set_input_embeddings(self, value: Any) -> None:
        """Replace the table of means."""
        self.beliefs.mean = value

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
        aligned: bool = False,
        **options: Any,
    ) -> GaugeOutput:
        """Return a ``GaugeOutput`` with the mean of every token's belief in its own frame; takes the arguments of
        transformers' decoders, and ``aligned`` to add divergences.

        Raises:
            UsageError: Embeddings were given in place of ids, or more positions than the model has.
        """
        if input_ids is None or inputs_embeds is not None:
            raise UsageError("expected input_ids: a belief is a mean, a covariance and a frame, not one embedding")
        options = for_model(self, options)
        filled = cache_to_fill(self, one_cache(cache, past_key_values), use_cache)
        held: dict[str, Any] = {CACHE: filled}
        seen = 0 if filled is None else filled.get_seq_length()
        if position_ids is None:
            position_ids = (torch.arange(input_ids.shape[1], device=input_ids.device) + seen)[None]
        self._check_positions(position_ids)
        prior, frames = self.beliefs(input_ids, position_ids.expand(len(input_ids), -1))
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=prior.mean,
            attention_mask=attention_mask,
            **held,
            position_ids=position_ids,
            and_mask_function=self._others(attention_mask, position_ids, seen) if self.config.mask_self else None,
        )
        hidden, spread, states, weights, apart = prior.mean, prior, [prior.mean], [], []
        for layer in self.layers:
            hidden, spread, taken, alignment = layer(
                hidden, spread, prior, frames, attention_mask=mask, aligned=aligned, **held, **options
            )
            states.append(hidden)
            weights.append(taken)
            apart.append(alignment)
        every = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        shown = self.config.output_attentions if output_attentions is None else output_attentions
        return GaugeOutput(
            last_hidden_state=hidden,
            **held,
            hidden_states=tuple(states) if every else None,
            attentions=tuple(weights) if shown else None,
            alignment=torch.stack(apart).mean(0) if aligned else None,
            prior=self._from_prior(replace(spread, mean=hidden), prior, frames) if aligned else None,
        )

    def _check_positions(self, positions: Tensor) -> None:
        most = self.config.max_position_embeddings
        if self.beliefs.position_mean is None and self.beliefs.position_frame is None:
            return
        if not positions.is_meta and int(positions.max()) >= most:
            message = f"position {int(positions.max())} is beyond the {most} that the model has"
            raise UsageError(f"{message}: give shorter text, or train with a larger max_position_embeddings")

    def _others(self, attention_mask: Any, positions: Tensor, seen: int) -> Callable[..., Any]:
        """The rule that a token sees itself only where it sees no other: at the first of its text."""
        if isinstance(attention_mask, Tensor) and attention_mask.dim() == 2:
            first = attention_mask.bool().long().cumsum(1) == 1
        elif seen:
            first = torch.arange(seen + positions.shape[1], device=positions.device)[None] == 0
        else:
            first = positions == 0  # several documents in a row each begin at 0
        shared = len(first) == 1

        def rule(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (query != key) | first[batch * 0 if shared else batch, query]

        return rule

    def _from_prior(self, beliefs: TokenBeliefs, prior: TokenBeliefs, frames: tuple[Tensor, ...]) -> Tensor:
        found, home = (canonical(self.layout, tokens, frames) for tokens in (beliefs, prior))
        apart = [own_divergence(one, other.keys()) for one, other in zip(found, home, strict=True)]
        return torch.cat(apart, dim=1).mean(1)


class GaugeForCausalLM(LanguageHead, GaugePreTrainedModel, GenerationMixin):
    r"""The gauge transformer with a language head, which is the table of means if the config ties them.

    In training the loss is that of the next token plus the config's weights times the mean alignment and prior
    divergence **of a token**; elsewhere it is that of the next token alone. Logits are of one function always. A tied
    head divides by :math:`\sqrt{\text{width}}`, since means are of length :math:`\sqrt{\text{width}}` when they begin.

    Args:
        config: Sizes and choices.
    """

    _tied_weights_keys = {"lm_head.weight": "model.beliefs.mean.weight"}  # noqa: RUF012  # transformers' own attribute

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__(config)
        self.model = GaugeModel(config)
        self.lm_head = nn.Linear(int(config.hidden_size or 0), config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of means."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the table of means."""
        self.model.set_input_embeddings(value)

    @staticmethod
    def create_masks_for_generate(attention_mask: Tensor | None = None, **_: Any) -> Tensor | None:
        """Return the mask unchanged, because this model builds its own causal mask, also with a static cache."""
        return attention_mask

    def _extra_arguments(self, labels: Tensor | None) -> dict[str, Any]:
        weighed = bool(self.config.alignment_weight or self.config.prior_weight)
        return {"aligned": self.training and labels is not None and weighed}

    def _logits(self, hidden: Tensor) -> Tensor:
        if self.config.tie_word_embeddings:
            hidden = hidden * hidden.shape[-1] ** -0.5
        return self.lm_head(hidden.to(self.lm_head.weight.dtype))

    def _penalty(self, found: Any, labels: Tensor, items: Any) -> Any:
        if found.alignment is None:
            return 0.0
        own = self.config.alignment_weight * found.alignment + self.config.prior_weight * found.prior
        return _mean_of_tokens(own, labels, items)


def _mean_of_tokens(values: Tensor, labels: Tensor, items: Any) -> Tensor:
    """Mean over the tokens that predict one; as the loss, a sum over the items of a step of several batches."""
    predicts = (nn.functional.pad(labels, (0, 1), value=-100)[:, 1:] != -100).to(values.dtype)
    return (values * predicts).sum() / (predicts.sum() if items is None else items)


add_model_type(ModelType(GaugeConfig, GaugeModel, GaugeForCausalLM))
