"""Run a model on a whole batch and restore its state."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from heedful.errors import InputRejected, UsageError
from heedful.interception.uncompiled import internal_forward, uncompiled

_QUANTISED = re.compile(r"quantized|bitsandbytes|torchao|Linear(4|8)bit|QLinear", re.IGNORECASE)

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


@contextmanager
def repeatable(model: nn.Module) -> Iterator[Callable[[], None]]:
    """Return a context with the model in evaluation mode and uncompiled; flags and random state are restored.

    Yields:
        A function that sets the random state back to where it stood, so that every forward draws the same numbers.
    """
    flags = [(module, module.training) for module in model.modules()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), uncompiled(), internal_forward():
        state = torch.get_rng_state()
        states = [torch.cuda.get_rng_state(device) for device in devices]

        def again() -> None:
            torch.set_rng_state(state)
            for device, own in zip(devices, states, strict=True):
                torch.cuda.set_rng_state(own, device)

        try:
            model.eval()
            yield again
        finally:
            for module, training in flags:
                module.training = training


def keywords_of(model: nn.Module, batch: Any) -> dict[str, Any]:
    """Return a batch as keyword arguments for the model's forward, with all its keys.

    Args:
        model: The model.
        batch: A mapping, or the one tensor of token ids that the model takes.

    Raises:
        UsageError: A key is none of the forward's arguments, or the batch is no mapping.
    """
    inner: Any = model
    while isinstance(inner, WRAPPERS):
        inner = inner.module
    parameters = inspect.signature(inner.forward).parameters
    if isinstance(batch, Tensor):
        name = next(iter(parameters), "input_ids")
        return {"input_ids" if "input_ids" in parameters else name: batch}
    if not isinstance(batch, Mapping):
        raise UsageError(f"batch: expected a mapping of the forward's arguments, got {type(batch).__name__}")
    keywords = {str(name): value for name, value in batch.items() if value is not None}
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return keywords
    refused = [name for name in keywords if name not in parameters]
    if refused:
        raise UsageError(
            f"batch['{refused[0]}']: {type(inner).__name__}.forward takes no such argument "
            f"(leave it out, or give the model that takes it; it takes {', '.join(list(parameters)[:8])})"
        )
    return keywords


def text_keywords(model: nn.Module, ids: Tensor, mask: Tensor) -> dict[str, Any]:
    """Return token ids and padding mask under the argument names of the model's forward.

    A forward of nanoGPT's kind, ``forward(idx, targets=None)``, answers for every token only with targets: the ids.

    Args:
        model: The model.
        ids: ``(batch, position)`` token ids.
        mask: ``(batch, position)``, 0 at padding; left out where nothing is.
    """
    names = inspect.signature(model.forward).parameters
    padded = {} if bool(mask.all()) else {"attention_mask": mask}
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in names.values())
    if "input_ids" in names or open_ended or not names:
        return {"input_ids": ids, **padded}
    targets = {"targets": ids} if "targets" in names else {}
    return {next(iter(names)): ids, **padded, **targets}


def on_device(model: nn.Module, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Move the batch's tensors to the device of the model's first parameters."""
    device = next((p.device for p in model.parameters() if not p.is_meta), torch.device("cpu"))

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device)
        if type(value) is dict:
            return {name: moved(one) for name, one in value.items()}
        return value

    return {name: moved(value) for name, value in keywords.items()}


def is_quantised(model: nn.Module) -> bool:
    """Return whether matrix products run in few bits, where one scale may round activations of all positions."""
    if getattr(getattr(model, "config", None), "quantization_config", None) is not None:
        return True
    return any(_QUANTISED.search(f"{type(m).__module__}.{type(m).__name__}") for m in model.modules())


def main_tensor(output: Any) -> Tensor:
    """Return the logits or the last hidden state of a model's output.

    Raises:
        InputRejected: The model returned neither.
    """
    for name in ("logits", "last_hidden_state"):
        value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(value, Tensor) and value.dim() >= 2:
            return value
    values = [output] if isinstance(output, Tensor) else list(output) if isinstance(output, tuple | list) else []
    found = next((one for one in values if isinstance(one, Tensor) and one.dim() >= 3), None)
    if found is None:
        raise InputRejected(
            type(output).__name__,
            "the model returned neither logits nor hidden states (batch, token, width): what a token moves is not seen",
            "return a tensor, a tuple that begins with one, or an object with `.logits`",
        )
    return found
