"""Gather gradients, counts and values of parameters that tensor parallelism shards over processes.

Gather head arrays that are sharded over processes: concatenate the heads, and take the maximum over processes of
values without a head axis.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from heedful.distributed.ranks import Ranks
from heedful.errors import UsageError
from heedful.interception.held_heads import HeldHeads, is_sharded

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


Array = NDArray[np.float64]

WITHOUT_HEADS = ("entering_spread", "output_error", "output_limit", "query", "n_keys")
"""Arrays of probes whose second axis, if any, is not the head: the same in every process, or the worst of its heads."""


def whole_heads(
    layers: Sequence[tuple[HeldHeads | None, Mapping[str, Array]]], ranks: Ranks, rows: int
) -> list[dict[str, Array]]:
    """Gather every process's heads into the arrays that one process would have measured, by one all-reduce.

    Args:
        layers: For each layer which heads are here, None for all, and name to ``(sequence, own heads, ...)``, or
            ``(sequence, ...)`` for those of ``WITHOUT_HEADS``.
        ranks: The processes.
        rows: Number of sequences.

    Returns:
        For each layer name to ``(sequence, all heads, ...)`` or ``(sequence, ...)``.

    Raises:
        RankLost: A process ended, hung, or measured arrays of other shapes.
    """
    names = [sorted(values) for _, values in layers]
    spaced = [
        _in_all_heads(values[name], part) if _has_heads(name, part) else _slot(values[name], ranks)
        for (part, values), listed in zip(layers, names, strict=True)
        for name in listed
    ]
    merged = iter(ranks.merged(spaced, np.ones(rows, dtype=bool)))
    return [
        {name: next(merged) if _has_heads(name, part) else next(merged).max(axis=1) for name in listed}
        for (part, _), listed in zip(layers, names, strict=True)
    ]


def _has_heads(name: str, part: HeldHeads | None) -> bool:
    return part is not None and name not in WITHOUT_HEADS


def _in_all_heads(own: Array, part: HeldHeads | None) -> Array:
    """Own heads in their places among all, 0 in the others': ``(sequence, all heads, ...)``."""
    held, (rank, count) = own.shape[1], (0, 1) if part is None else (part.rank, part.count)
    whole = np.zeros((len(own), held * count, *own.shape[2:]))
    whole[:, rank * held : (rank + 1) * held] = own
    return whole


def _slot(own: Array, ranks: Ranks) -> Array:
    """An array in this process's place among all of them: ``(sequence, process, ...)``."""
    whole = np.zeros((len(own), ranks.count, *own.shape[1:]))
    whole[:, ranks.rank] = own
    return whole
