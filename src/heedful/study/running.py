"""How a model is run on token ids, whatever class it is, and left as it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from heedful.capture import own_work, uncompiled
from heedful.core.errors import InputRejected


@dataclass(frozen=True)
class Batch:
    """Some sequences that go through the model together.

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
        """The same beside a layer that lies on another device."""
        if device == self.input_ids.device:
            return self
        ids, mask, special, punctuation = (
            tensor.to(device) for tensor in (self.input_ids, self.attention_mask, self.special, self.punctuation)
        )
        return Batch(ids, mask, self.index, special, punctuation)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and no compiled code; flags and random states as before afterwards.

    Forwards inside are heedful's own: a capture around them does not count them.
    """
    flags = [(module, module.training) for module in model.modules()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), uncompiled(), own_work():
        try:
            model.eval()
            yield
        finally:
            for module, training in flags:
                module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Device of the first parameter that has data, the embedding as a rule, else the CPU.

    Parameters that accelerate keeps elsewhere have none; its hooks bring inputs to where they are needed.
    """
    return next((p.device for p in model.parameters() if not p.is_meta), torch.device("cpu"))


def _accepts(model: nn.Module) -> tuple[set[str], bool]:
    parameters = inspect.signature(model.forward).parameters
    return set(parameters), any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def run_model(model: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Any:
    """The model's own output for a batch of token ids.

    Keyword names are used where the forward takes them; a mask that hides nothing is not passed. A forward of nanoGPT's
    kind, ``forward(idx, targets=None)``, answers for every token only when it is given targets: the ids themselves.
    """
    names, open_ended = _accepts(model)
    keywords: dict[str, Any] = {}
    if not bool(attention_mask.all()) and ("attention_mask" in names or open_ended):
        keywords["attention_mask"] = attention_mask
    if "use_cache" in names:
        keywords["use_cache"] = False
    if "input_ids" in names:
        return model(input_ids=input_ids, **keywords)
    if "targets" in names:
        keywords["targets"] = input_ids
    return model(input_ids, **keywords)


def tensor_of(output: Any, *names: str) -> Tensor | None:
    """A tensor of a model's output: a named field, the output itself, or the first tensor of a tuple."""
    for name in names:
        value = getattr(output, name, None) if not isinstance(output, dict) else output.get(name)
        if isinstance(value, Tensor):
            return value
    if isinstance(output, Tensor):
        return output
    if isinstance(output, (tuple, list)):
        return next((value for value in output if isinstance(value, Tensor) and value.dim() >= 3), None)
    return None


def main_output(output: Any) -> Tensor:
    """Logits, else the last hidden state: what a perturbation must or must not change.

    Raises:
        InputRejected: The model returned neither.
    """
    found = tensor_of(output, "logits", "last_hidden_state")
    if found is None:
        raise InputRejected(
            type(output).__name__,
            "the model returned neither logits nor hidden states (batch, token, width)",
            "return a tensor, a tuple that begins with one, or an object with `.logits`",
        )
    return found
