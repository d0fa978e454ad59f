"""Find and gather the heads of a process when tensor parallelism shards an attention module."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.errors import HeedfulError, UsageError

SHARDED = "DTensor"
"""Class of a parameter of which each process holds a part; named, since importing it costs a second."""


@dataclass(frozen=True)
class HeldHeads:
    """The share of a module's heads that this process holds; every process holds the same number.

    Attributes:
        rank: This process's place among those that share the module.
        count: Their number.
        group: Their process group.
    """

    rank: int
    count: int
    group: Any

    def own(self, whole: Tensor, dim: int = 1) -> Tensor:
        """Select this process's heads from a tensor with all heads."""
        size = whole.shape[dim] // self.count
        return whole.narrow(dim, self.rank * size, size)

    def gathered(self, own: Tensor, dim: int = 1) -> Tensor:
        """Gather all heads from every process; every process of the group must call this.

        A gradient reaches this process's own heads alone, which is all that a function of single heads needs.
        """
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(self.count)]
        dist.all_gather(parts, own.detach().contiguous(), group=self.group)
        parts[self.rank] = own
        return torch.cat(parts, dim=dim)

    def own_heads(self, heads: list[int], held: int) -> list[int]:
        """Convert head indices of the whole module to indices among this process's ``held`` heads; heads of other
        processes are dropped.
        """
        first = self.rank * held
        return [head - first for head in heads if first <= head < first + held]

    def whole(self, call: AttentionCall) -> AttentionCall:
        """Gather the call with the heads of all processes."""
        bias, mask = call.bias, call.visibility.mask
        if bias is not None and bias.shape[1] == call.heads:
            bias = self.gathered(bias)
        if mask is not None and mask.shape[1] == call.heads:
            mask = self.gathered(mask)
        return replace(
            call,
            query=self.gathered(call.query),
            key=self.gathered(call.key),
            value=None if call.value is None else self.gathered(call.value),
            visibility=replace(call.visibility, mask=mask),
            bias=bias,
            sink=None if call.sink is None else self.gathered(call.sink, dim=0),
        )


def is_sharded(parameter: Tensor) -> bool:
    """Return whether a parameter is sharded or replicated over processes."""
    return type(parameter).__name__ == SHARDED or type(parameter.data).__name__ == SHARDED


def part_of(module: nn.Module, call: AttentionCall) -> HeldHeads | None:
    """Return the share of a module's heads in this process's call; None if the call has all heads.

    The row-wise projection tells: it takes the call's output, and holds weights for as much of it as is here. Where the
    module has none, its column-wise projections, which give the query, tell instead.

    Args:
        module: The attention module.
        call: Its call, as it was met in this process.

    Raises:
        HeedfulError: Its parameters are divided, and not in whole heads.
    """
    if type(call.query).__name__ == SHARDED:
        raise HeedfulError("its queries are DTensors: heads that are divided inside the call are not understood")
    if not (dist.is_available() and dist.is_initialized()):
        return None  # what is divided is divided over processes
    divided = [p for p in module.parameters() if is_sharded(p) and p.dim() == 2]
    value_dim = call.query.shape[-1] if call.value is None else call.value.shape[-1]
    for axis, width in ((1, call.heads * value_dim), (0, call.heads * call.query.shape[-1])):
        along = [p for p in divided if _axis(p) == axis]
        for parameter in along:
            if _here(parameter).shape[axis] == width and parameter.shape[axis] != width:
                return _part(parameter, width, axis)
        if along:
            if any(p.shape[axis] == width for p in along):
                return None  # every process has all heads, each projection being gathered or split around the call
            message = f"{call.heads} heads of {value_dim} here and a projection of {along[0].shape[axis]} over all"
            raise HeedfulError(f"its heads are divided over processes in a way that is not understood: {message}")
    return None


def _part(parameter: Any, width: int, axis: int) -> HeldHeads:
    mesh = parameter.device_mesh
    dim = next(place for place, shard in enumerate(parameter.placements) if shard.is_shard())
    count = int(mesh.size(dim))
    if parameter.shape[axis] != width * count:
        message = f"{width} of {parameter.shape[axis]} columns here, over {count} processes"
        raise HeedfulError(f"its heads are divided unevenly over processes: {message}")
    return HeldHeads(int(mesh.get_local_rank(dim)), count, mesh.get_group(dim))


def _axis(parameter: Any) -> int | None:
    """The axis along which a parameter is divided; None where it is whole, or divided along several."""
    axes = [shard.dim % parameter.dim() for shard in parameter.placements if shard.is_shard()]
    return axes[0] if len(axes) == 1 else None


def _here(parameter: Any) -> Tensor:
    return parameter.to_local()  # type: ignore[no-any-return]


def refuse_unknown_division(model: nn.Module) -> None:
    """Raise an error if heads were sharded in a way that parameters don't show.

    Raises:
        UsageError: The model says that it is divided, and none of its parameters does.
    """
    for module in model.modules():
        size = getattr(module, "tp_size", None)
        if isinstance(size, int) and size > 1 and not any(is_sharded(p) for p in module.parameters()):
            raise UsageError(
                f"capture: {type(module).__name__} is divided over {size} processes, and its parameters do not say "
                "how; load it with transformers 5.20 or later, or whole (device_map='auto', --device auto)"
            )
