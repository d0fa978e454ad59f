"""The head of a language model: logits, and the mean loss of the next token."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple


class LanguageHead:
    """Forward of a model that has ``model`` without a head, ``lm_head``, and transformers' ``loss_function``."""

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
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the next token, and the mean loss where there are labels.

        Args:
            input_ids: ``(batch, token)``.
            attention_mask: 1 for tokens, 0 for padding, ``(batch, token)``.
            labels: The tokens again, -100 where none is to be predicted; they are shifted here.
            logits_to_keep: Last positions whose logits are wanted, or their indices; 0 for all.
            options: Of the model without a head, of the kernel and of the loss.
        """
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, **options)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(found.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **options)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=found.past_key_values,
            hidden_states=found.hidden_states,
            attentions=found.attentions,
        )
