"""A batch of token sequences, with facts about their tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Token sequences that go through the model together.

    Attributes:
        input_ids: ``(sequence, token)`` on the model's device.
        attention_mask: ``(sequence, token)``, 1 at real tokens.
        index: ``(sequence,)`` position of each in the study's sequences.
        special: ``(sequence, token)`` bool, special tokens.
        punctuation: ``(sequence, token)`` bool, tokens of punctuation alone.
    """

    input_ids: Tensor
    attention_mask: Tensor
    index: Tensor
    special: Tensor
    punctuation: Tensor

    def at(self, device: torch.device) -> Batch:
        """Return the batch on another device; ``index`` stays on its device."""
        if device == self.input_ids.device:
            return self
        ids, mask, special, punctuation = (
            tensor.to(device) for tensor in (self.input_ids, self.attention_mask, self.special, self.punctuation)
        )
        return Batch(ids, mask, self.index, special, punctuation)

    def rows(self, which: slice) -> Batch:
        """Return some sequences of the batch."""
        parts = (self.input_ids, self.attention_mask, self.index, self.special, self.punctuation)
        return Batch(*(part[which] for part in parts))
