"""Compute the loss on the text in the same forwards that measure attention."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from heedful.evaluation.evidence import Array
from heedful.evaluation.objective import means_of, next_tokens
from heedful.evaluation.output_layer import OutputLayer, losses_of_hidden, token_losses
from heedful.evaluation.running import run_model, tensor_of
from heedful.loading.batch import Batch


@dataclass
class TextReader:
    """Runs a model on batches and records each sequence's loss, skipping the output layer where possible.

    Attributes:
        model: The model, in evaluation mode.
        layer: Its output layer; None where it cannot be left out.
        losses: Loss of each sequence that was read, by its index: mean over next tokens, in nats.
    """

    model: nn.Module
    layer: OutputLayer | None
    losses: dict[int, float] = field(default_factory=dict)

    def run(self, batch: Batch) -> None:
        """Run the model on a batch without its output layer, where that can be skipped."""
        if self.layer is None:
            run_model(self.model, batch.input_ids, batch.attention_mask)
        else:
            with self.layer.left_out():
                run_model(self.model, batch.input_ids, batch.attention_mask)

    def read(self, batch: Batch) -> None:
        """Run the model on a batch and record the mean next-token loss of each sequence; nothing is recorded if the
        outputs are not logits.
        """
        _, counted, targets = next_tokens(batch)
        taken: list[Tensor] = []

        def take(hidden: Tensor) -> None:
            if self.layer is not None:
                taken.append(losses_of_hidden(hidden[:, :-1], targets, self.layer.module.forward))

        if self.layer is None:
            logits = tensor_of(run_model(self.model, batch.input_ids, batch.attention_mask), "logits")
            if logits is not None and _fits(logits, batch):
                taken.append(token_losses(logits[:, :-1], targets))
        elif self.layer.width <= int(batch.input_ids.max()):
            self.run(batch)
        else:
            with self.layer.left_out(take):
                run_model(self.model, batch.input_ids, batch.attention_mask)
        for losses in taken:
            values = means_of(losses, counted).double().cpu().tolist()
            self.losses |= dict(zip(batch.index.tolist(), values, strict=True))

    def whole(self, batches: list[Batch]) -> Array:
        """Return the recorded losses in batch order, ``(sequence,)`` in nats per token; NaN for sequences without a
        loss recorded in this process.
        """
        order = torch.cat([batch.index for batch in batches]).tolist()
        return np.array([self.losses.get(index, np.nan) for index in order])


def _fits(logits: Tensor, batch: Batch) -> bool:
    """Whether an output is logits of every token of the batch."""
    return (
        logits.dim() == 3
        and logits.shape[:2] == batch.input_ids.shape
        and logits.shape[-1] > int(batch.input_ids.max())
    )
