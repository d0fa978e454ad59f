"""Run a model of any class on token ids, and restore its state afterwards.

Unwrap a compiled or distributed model, or raise an error if the inner model is incomplete.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from heedful.contract.check import check
from heedful.contract.record import Contract, ContractReport
from heedful.contract.running import text_keywords
from heedful.distributed.sharded import is_tensor_parallel, own_entries, whole_counts
from heedful.errors import HeedfulError, InputRejected
from heedful.interception.held_heads import is_sharded
from heedful.interception.uncompiled import internal_forward, uncompiled
from heedful.loading.batch import Batch


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Return a context with the model in evaluation mode and uncompiled; flags and random state are restored.

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
    """Return the device of the first parameter that has data, or the CPU if there is none.

    Parameters that accelerate keeps elsewhere have none; its hooks bring inputs to where they are needed.
    """
    return next((p.device for p in model.parameters() if not p.is_meta), torch.device("cpu"))


def _accepts(model: nn.Module) -> tuple[set[str], bool]:
    parameters = inspect.signature(model.forward).parameters
    return set(parameters), any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def nonfinite_entries(model: nn.Module) -> dict[str, int]:
    """Return the number of NaN or infinite entries of each parameter that has any, by name."""
    # a parameter on the meta device is offloaded, and read when its layer runs
    floating = {name: p for name, p in model.named_parameters() if p.is_floating_point() and not p.is_meta}
    own = [int((~torch.isfinite(own_entries(p))).sum()) for p in floating.values()]
    counts = zip(floating, whole_counts(floating.values(), own), strict=True)
    return {name: count for name, count in counts if count}


def refuse_nonfinite(model: nn.Module, name: str) -> None:
    """Raise an error if any weight of the model is NaN or infinite.

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
    """Return whether padding precedes a real token, which makes tensor indices differ from positions."""
    real = attention_mask.bool()
    return bool((real[:, 1:] & ~real[:, :-1]).any())


def positions_of(attention_mask: Tensor) -> Tensor:
    """Return each token's position among the real tokens of its sequence, ``(sequence, token)`` int64; 0 in left
    padding.
    """
    return (attention_mask.bool().long().cumsum(1) - 1).clamp_min(0)


def takes_positions(model: nn.Module) -> bool:
    """Return whether the model's forward accepts position ids that start at 0.

    Tables of position vectors with a padding row (RoBERTa) begin elsewhere; such models count positions from the ids
    themselves, padding left out, and are left to it.
    """
    tables = (m for name, m in model.named_modules() if "position" in name and isinstance(m, nn.Embedding))
    return "position_ids" in _accepts(model)[0] and not any(table.padding_idx is not None for table in tables)


def run_model(model: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Any:
    """Run the model on token ids and return its own output object.

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


def contract_on(model: nn.Module, batch: Batch, causal: bool | None) -> ContractReport | str:
    """Check on one batch whether the model keeps its contract: the attention properties (mask, scale, positions) that
    its config and the batch promise.

    Args:
        model: The model.
        batch: Token ids and padding mask.
        causal: Whether queries see earlier keys alone; None leaves it to the config.

    Returns:
        The report, or the reason why the check could not run.
    """
    keywords = text_keywords(model, batch.input_ids, batch.attention_mask)
    if pads_inside(batch.attention_mask) and takes_positions(model):
        keywords["position_ids"] = positions_of(batch.attention_mask)
    given = {True: "causal", False: "both", None: None}[causal]
    try:
        return check(model, keywords, contract=Contract(direction=given), capture=False)
    except HeedfulError as error:
        return str(error)


def tensor_of(output: Any, *names: str) -> Tensor | None:
    """Return the first tensor of a model output: a field in ``names``, the output itself, or an element of a tuple;
    None if there is none.
    """
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
    """Return the logits or, if there are none, the last hidden state.

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


COMPILED = "OptimizedModule"
"""Class that ``torch.compile`` puts around a module; named, since importing it costs seconds."""


def unwrapped(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """Return the model inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``, and notes on removed
    wrappers.

    Weights are the very same tensors. A model that transformers has divided by tensor parallelism is left as it is.

    Args:
        model: Any module.

    Returns:
        The model, and one note for each wrapper.

    Raises:
        InputRejected: Its parameters are sharded, so that this process holds but a part of each.
    """
    notes: list[str] = []
    while (inner := _inner(model)) is not None:
        notes.append(f"{type(model).__name__}: the model inside is judged")
        model = inner
    parallel = is_tensor_parallel(model)
    sharded = [name for name, parameter in model.named_parameters() if is_sharded(parameter) and not parallel]
    sharded += [path for path, module in model.named_modules() if type(module).__name__ == "FullyShardedDataParallel"]
    if sharded:
        raise InputRejected(
            type(model).__name__,
            f"unsupported: sharded parameters (FSDP), {sharded[0] or 'the model'} first",
            "load its full state dict into the plain model, or capture the sharded one while it runs",
        )
    return model, notes


def _inner(model: nn.Module) -> nn.Module | None:
    if type(model).__name__ == COMPILED:
        inner = getattr(model, "_orig_mod", None)
    elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = model.module
    else:
        return None
    return inner if isinstance(inner, nn.Module) else None
