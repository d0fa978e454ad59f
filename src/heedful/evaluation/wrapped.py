"""Unwrap a compiled or distributed model, or raise an error if the inner model is incomplete."""

from __future__ import annotations

from torch import nn

from heedful.distributed.sharded import is_tensor_parallel
from heedful.errors import InputRejected
from heedful.interception.held_heads import is_sharded

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
