"""Run one trial forward first, so that an unsuitable model fails early with a one-line error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from heedful.errors import HeedfulError, InputRejected
from heedful.evaluation.batches import batch_of
from heedful.evaluation.running import device_of, evaluating, run_model, tensor_of

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch

OFFER = "its forward must take token ids (batch, token) and return logits or hidden states (batch, token, width)"


def try_model(model: nn.Module, sequences: TokenBatch, name: str) -> None:
    """Run a model on its first two sequences and raise an error if its output is unsuitable.

    Args:
        model: The model; left as it was.
        sequences: The text that it shall read.
        name: What the user called it.

    Raises:
        InputRejected: Its forward raised, or returned nothing that answers for every token.
    """
    batch = batch_of(sequences, torch.arange(min(2, len(sequences.input_ids))), device_of(model))
    shape = tuple(batch.input_ids.shape)
    try:
        with evaluating(model), torch.no_grad():
            output = run_model(model, batch.input_ids, batch.attention_mask)
    except HeedfulError:
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        ids = f"token ids {shape} up to {int(batch.input_ids.max())}"
        raise InputRejected(name, f"the model's forward raised on {ids}: {message}", OFFER) from error
    found = tensor_of(output, "logits", "last_hidden_state")
    if found is None:
        raise InputRejected(name, f"the model returned {_described(output)}", OFFER)
    if found.dim() != 3 or tuple(found.shape[:2]) != shape or not found.is_floating_point():
        message = f"the model returned a tensor {tuple(found.shape)} for token ids {shape}"
        raise InputRejected(name, message, OFFER)


def _described(output: object) -> str:
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {', '.join(type(part).__name__ for part in output[:4]) or 'nothing'}"
    return "None" if output is None else f"a {type(output).__name__}"
