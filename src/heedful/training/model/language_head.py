"""Language-model head: logits and mean next-token loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from heedful.interception.replace import replace
from heedful.training.model.arguments import CACHE, for_loss, for_model


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
