"""Language-model head: logits and mean next-token loss.

Checks of a model's forward arguments: the cache may have either of transformers' two names, and unknown arguments
are refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from heedful.interception.replace import replace


class LanguageHead:
    """Mixin with the forward of a language model; needs ``model``, ``lm_head`` and ``loss_function``."""

    model: Any
    lm_head: Any
    config: Any
    loss_function: Any

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        cache: Cache | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        beta_override: Tensor | None = None,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Return next-token logits, and the mean loss if labels are given.

        Args:
            input_ids: ``(batch, token)``.
            attention_mask: 1 for tokens, 0 for padding, ``(batch, token)``.
            labels: The tokens again, -100 where none is to be predicted; they are shifted here.
            logits_to_keep: Last positions whose logits are wanted, or their indices; 0 for all.
            position_ids: ``(batch or 1, token)``; None for those of the model without a head.
            inputs_embeds: ``(batch, token, width)`` in place of ids.
            cache: What earlier tokens left, to which these are added.
            past_key_values: Its older name.
            use_cache: Whether to keep one; None for what the config says.
            beta_override: Weights that broadcast to ``(batch, head, query, key)``, in place of those that attention
                learned in every layer; used as they are, neither masked nor normalised.
            options: Of the model without a head, of the kernel and of the loss.

        Raises:
            TypeError: An option is nobody's, or a cache came under both names.
            UsageError: The weights have another shape.
        """
        model: Any = self
        if beta_override is not None:
            given = (input_ids, attention_mask, labels, logits_to_keep, position_ids, inputs_embeds)
            caches = {"cache": cache, "past_key_values": past_key_values, "use_cache": use_cache}
            attending = [path for path, _ in self.model.named_modules() if path.endswith("self_attn")]
            with replace(self.model, beta_override, layers=attending):
                return self.forward(*given, **caches, **options)  # type: ignore[no-any-return]
        found = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            cache=cache,
            past_key_values=past_key_values,
            use_cache=use_cache,
            return_dict=True,
            **self._extra_arguments(labels),
            **for_model(model, options),
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self._logits(found.last_hidden_state[:, kept])
        loss: Any = None
        if labels is not None:
            of_loss = for_loss(options)
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **of_loss)
            loss = loss + self._penalty(found, labels, of_loss.get("num_items_in_batch"))
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=found.hidden_states,
            attentions=found.attentions,
            **{CACHE: getattr(found, CACHE)},
        )

    def _extra_arguments(self, labels: Tensor | None) -> dict[str, Any]:
        """What else the model without a head is asked."""
        return {}

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.lm_head(hidden)

    def _penalty(self, found: Any, labels: Tensor, items: Any) -> Any:
        """What a model adds to the loss of the next token."""
        return 0.0


CACHE_NAMES = ["cache", "past_key_values"]
"""What transformers calls a cache: the second until 5.23, the first from 5.24 on."""

CACHE = next(name for name in CACHE_NAMES if name in inspect.signature(create_causal_mask).parameters)
"""The name that the installed transformers has for arguments and outputs."""

_LOSS = ("num_items_in_batch", "ignore_index", "shift_labels")
_KERNEL = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "kernel_options")
_SHOWN = ("output_attentions", "output_hidden_states", "return_dict")
_UNREAD = ("cache_position",)  # generate passes it until 5.23 beside the cache that says the same


def one_cache(cache: Cache | None, past_key_values: Cache | None) -> Cache | None:
    """Return the cache from whichever of its two argument names was used.

    Raises:
        TypeError: It was given under both.
    """
    if cache is not None and past_key_values is not None:
        raise TypeError("expected cache or past_key_values, which are two names of one argument, and not both")
    return past_key_values if cache is None else cache


def cache_to_fill(model: PreTrainedModel, given: Cache | None, use_cache: bool | None) -> Cache | None:
    """Return the cache that a forward extends: the given one, a new one if requested, or None.

    Args:
        model: Its config says what is wanted where ``use_cache`` does not.
        given: The cache of earlier tokens, or None.
        use_cache: Whether one is wanted.
    """
    wanted = model.config.use_cache if use_cache is None else use_cache
    replayed = getattr(model, "gradient_checkpointing", False) and model.training and torch.is_grad_enabled()
    return DynamicCache(config=model.config) if given is None and wanted and not replayed else given


def no_cache(model: PreTrainedModel, given: Cache | None) -> None:
    """Raise an error if a cache is passed to a model that doesn't support it.

    Raises:
        TypeError: One was given.
    """
    if given is not None:
        message = "it keeps no cache: give it all tokens at once"
        raise TypeError(f"{type(model).__name__}.forward takes no argument {CACHE!r}: {message}")


def for_loss(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that belong to the loss function."""
    return {name: value for name, value in options.items() if name in _LOSS}


def for_model(model: PreTrainedModel, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that belong to the inner model and its kernel.

    Raises:
        TypeError: An option is nobody's; the message names it, the model, and what is known.
    """
    for name in options:
        if name not in (*_LOSS, *_KERNEL, *_SHOWN, *_UNREAD):
            own = [
                known for known, of in inspect.signature(model.forward).parameters.items() if of.kind != of.VAR_KEYWORD
            ]
            known = ", ".join(dict.fromkeys((*own, *_SHOWN, *_KERNEL, *_LOSS)))
            raise TypeError(f"{type(model).__name__}.forward takes no argument {name!r}: expected of {known}")
    return {name: value for name, value in options.items() if name not in (*_LOSS, *_UNREAD)}
