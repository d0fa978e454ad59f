"""Run a model on token ids, whatever its class, and leave it as it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from heedful.distributed.sharded import own_entries, whole_counts
from heedful.errors import InputRejected
from heedful.interception.internal_forward import internal_forward
from heedful.interception.uncompiled import uncompiled


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without compiled code; flags and random states are restored afterwards.

    Forwards inside are heedful's own: a capture around them does not count them.
    """
    flags = [(module, module.training) for module in model.modules()]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), uncompiled(), internal_forward():
        try:
            model.eval()
            yield
        finally:
            for module, training in flags:
                module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Device of the first parameter that has data (as a rule the embedding), else the CPU.

    Parameters that accelerate keeps elsewhere have none; its hooks bring inputs to where they are needed.
    """
    return next((p.device for p in model.parameters() if not p.is_meta), torch.device("cpu"))


def _accepts(model: nn.Module) -> tuple[set[str], bool]:
    parameters = inspect.signature(model.forward).parameters
    return set(parameters), any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def nonfinite_entries(model: nn.Module) -> dict[str, int]:
    """Parameter name to its number of NaN or infinite entries, for parameters that have any."""
    # a parameter on the meta device is offloaded, and read when its layer runs
    floating = {name: p for name, p in model.named_parameters() if p.is_floating_point() and not p.is_meta}
    own = [int((~torch.isfinite(own_entries(p))).sum()) for p in floating.values()]
    counts = zip(floating, whole_counts(floating.values(), own), strict=True)
    return {name: count for name, count in counts if count}


def refuse_nonfinite(model: nn.Module, name: str) -> None:
    """Refuse a model whose weights are not finite: nothing measured from them would be.

    Args:
        model: Any model.
        name: Of the model.

    Raises:
        InputRejected: A parameter holds NaN or infinity; the message names it.
    """
    broken = nonfinite_entries(model)
    if not broken:
        return
    first, entries = next(iter(broken.items()))
    summary = (
        f"expected finite weights; {first} holds {entries:,} {'entry' if entries == 1 else 'entries'} NaN or infinite"
    )
    if len(broken) > 1:
        summary += f", and so do {len(broken) - 1} more tensors" if len(broken) > 2 else ", and so does 1 more tensor"
    raise InputRejected(name, summary, "take an earlier checkpoint, or make the model again")


def pads_inside(attention_mask: Tensor) -> bool:
    """Whether padding stands before a real token, so that tensor indices are not positions."""
    real = attention_mask.bool()
    return bool((real[:, 1:] & ~real[:, :-1]).any())


def positions_of(attention_mask: Tensor) -> Tensor:
    """Position of each token among the real tokens of its sequence, ``(sequence, token)`` int64; 0 for padding in
    front.
    """
    return (attention_mask.bool().long().cumsum(1) - 1).clamp_min(0)


def takes_positions(model: nn.Module) -> bool:
    """Whether a model accepts positions that begin at 0.

    Tables of position vectors with a padding row (RoBERTa) begin elsewhere; such models count positions from the ids
    themselves, padding left out, and are left to it.
    """
    tables = (m for name, m in model.named_modules() if "position" in name and isinstance(m, nn.Embedding))
    return "position_ids" in _accepts(model)[0] and not any(table.padding_idx is not None for table in tables)


def run_model(model: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Any:
    """The model's own output for a batch of token ids.

    Keyword names are used where the forward takes them; a mask that hides nothing is not passed. Where padding stands
    before or between tokens, positions are counted over real tokens, so that outputs are those without padding. A
    forward of nanoGPT's kind, ``forward(idx, targets=None)``, answers for every token only when it is given targets:
    the ids themselves.
    """
    names, open_ended = _accepts(model)
    keywords: dict[str, Any] = {}
    if not bool(attention_mask.all()) and ("attention_mask" in names or open_ended):
        keywords["attention_mask"] = attention_mask
    if pads_inside(attention_mask) and takes_positions(model):
        keywords["position_ids"] = positions_of(attention_mask)
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
    """Logits, else the last hidden state: the output that a perturbation may or may not change.

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
