"""Gather gradients, counts and values of parameters that tensor parallelism shards over processes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from heedful.distributed.ranks import Ranks
from heedful.errors import UsageError
from heedful.interception.held_heads import is_sharded

OF_OWN_HEADS = "replicated_with_grad_allreduce"
"""Plan word for a parameter that is whole in every process and works on its own heads: gradients are still to be
summed. The norms of queries and keys of Qwen 3 are such."""


def is_tensor_parallel(model: nn.Module) -> bool:
    """Return whether transformers' tensor parallelism, and nothing else, shards the model."""
    divided = int(getattr(model, "tp_size", None) or 1) > 1
    return divided and int(getattr(model, "fsdp_size", None) or 1) == 1


def refuse_unshared(model: nn.Module, ranks: Ranks) -> None:
    """Raise an error if a sharded model would be judged by a single process.

    Raises:
        UsageError: It is divided and the ranks are not said to divide it, or it is whole and they are.
    """
    divided = is_tensor_parallel(model)
    if divided != (ranks.divide == "tensor"):
        name, size = type(model).__name__, int(getattr(model, "tp_size", None) or 1)
        message = f"is divided over {size} processes and each would judge its part" if divided else "is not divided"
        raise UsageError(
            f"{name} {message} (torchrun --no-python --nproc-per-node N heedful validate MODEL --parallel tensor)"
        )


def whole(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor; every process must call this."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined,no-any-return]


def divided_like(values: Tensor, parameter: Any) -> Tensor:
    """Shard values like a parameter; every process must pass the same full values."""
    if not is_sharded(parameter):
        return values.to(parameter)
    from torch.distributed.tensor import distribute_tensor

    placed = values.to(device=parameter.device, dtype=parameter.dtype)
    return distribute_tensor(placed, parameter.device_mesh, parameter.placements, src_data_rank=None)


def whole_gradients(model: nn.Module, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
    """Gather the full gradients from all processes.

    Args:
        model: The model; its plan names parameters whose gradients are to be summed.
        gradients: Parameter name to this process's gradient, the same names in the same order in every process.
    """
    plan: Mapping[str, str] = getattr(model, "tp_plan", None) or {}
    group = group_of(model)
    found: dict[str, Tensor | None] = {}
    for name, gradient in gradients.items():
        style = plan.get(re.sub(r"\d+", "*", name.rpartition(".")[0]))
        if gradient is not None and group is not None:
            gradient = whole(gradient).contiguous()
            if style == OF_OWN_HEADS:
                gradient = gradient.clone()
                dist.all_reduce(gradient, group=group)
        found[name] = gradient
    return found


def group_of(model: nn.Module) -> Any:
    """Return the process group that shards the model's parameters; None if no parameter is sharded."""
    for parameter in model.parameters():
        if is_sharded(parameter):
            place = next((i for i, shard in enumerate(parameter.placements) if shard.is_shard()), 0)  # type: ignore[attr-defined]
            return parameter.device_mesh.get_group(place)  # type: ignore[attr-defined]
    return None


def whole_counts(parameters: Iterable[Tensor], counts: Iterable[int]) -> list[int]:
    """Sum counts over the shards of each parameter; counts of unsharded parameters stay."""
    listed, own = list(parameters), list(counts)
    shared = [index for index, parameter in enumerate(listed) if is_sharded(parameter)]
    if shared:
        first: Any = listed[shared[0]]
        packed = torch.tensor([own[index] for index in shared], device=first.to_local().device)
        place = next((i for i, shard in enumerate(first.placements) if shard.is_shard()), 0)
        dist.all_reduce(packed, group=first.device_mesh.get_group(place))
        for index, count in zip(shared, packed.tolist(), strict=True):
            own[index] = int(count)
    return own


def own_entries(tensor: Tensor) -> Tensor:
    """Return the shard of a tensor that this process holds."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined,no-any-return]
