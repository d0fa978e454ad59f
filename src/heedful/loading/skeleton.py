"""Build a model on the meta device to learn its size and keys before allocating anything."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from heedful.errors import InputRejected, ResourceLimit
from heedful.loading.bounded import MIB, Bounds, bounded
from heedful.loading.memory import ensure_fits
from heedful.loading.model_config import ModelPlan
from heedful.loading.quiet import quiet_transformers
from heedful.loading.wording import reason

_TOO_LARGE = re.compile(r"overflow|allocate|not enough memory|out of memory|too large|too big|maximum", re.IGNORECASE)

BOUNDS = Bounds(seconds=5, memory=512 * MIB)
"""What building a skeleton may take. The default config of each type of transformers takes at most a quarter of it."""


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """Size and keys of a model that is not built yet.

    Attributes:
        parameters: Numbers in its parameters.
        buffer_bytes: Bytes of its buffers.
        shapes: Shape of each entry of its state dict.
        groups: Names of its state dict, those of tied entries together.
    """

    parameters: int
    buffer_bytes: int
    shapes: Mapping[str, tuple[int, ...]]
    groups: tuple[frozenset[str], ...]

    def ensure_fits(self, dtype: torch.dtype, device: str, subject: str, processes: int = 1) -> None:
        """Raise an error if the model would not fit in memory.

        Args:
            dtype: The dtype of its parameters.
            device: Where it will stand.
            subject: Its name in messages.
            processes: Processes that divide it, each with a device of its own unless that is main memory.

        Raises:
            ResourceLimit: It would not fit; nothing was allocated.
        """
        wanted = self.parameters * dtype.itemsize + self.buffer_bytes
        what = f"{subject}: {self.parameters:,} parameters in {str(dtype).removeprefix('torch.')}"
        for place in sorted({"cpu", device}):  # it is filled in main memory and moved from there
            share = wanted if place == "cpu" else -(-wanted // processes)
            ensure_fits(share, what, device=place, hint="correct the config, or take a smaller model or dtype")


def build_skeleton(plan: ModelPlan, subject: str) -> Skeleton:
    """Build a model on the meta device.

    Args:
        plan: What to build.
        subject: Its name in messages.

    Returns:
        Its size and keys.

    Raises:
        InputRejected: The config does not describe a model that its class can build.
        ResourceLimit: Its sizes cannot even be counted.
    """

    def refusal(why: str) -> ResourceLimit:
        return ResourceLimit(f"{subject}: sizes too large to count: {why} (correct the config)")

    size = bounded(lambda: _measured(plan, subject), BOUNDS, refusal)
    shapes = {key: tuple(shape) for key, shape in size["shapes"].items()}
    tied = [frozenset(names) for names in size["tied"]]
    alone = shapes.keys() - frozenset().union(*tied)
    return Skeleton(
        parameters=size["parameters"],
        buffer_bytes=size["buffer_bytes"],
        shapes=shapes,
        groups=(*tied, *(frozenset({key}) for key in shapes if key in alone)),
    )


def _measured(plan: ModelPlan, subject: str) -> dict[str, Any]:
    try:
        with quiet_transformers(), torch.device("meta"):
            model = plan.model_class(plan.config)
    except Exception as error:  # model classes raise whatever a strange size leads to
        if is_too_large(error):
            raise ResourceLimit(f"{subject}: sizes too large to count (correct the config)") from error
        message = f"{plan.model_class.__name__} cannot be built from the config: {reason(error)}"
        raise InputRejected(subject, message, "correct the config") from error
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "buffer_bytes": sum(buffer.numel() * buffer.element_size() for buffer in model.buffers()),
        "shapes": {key: tuple(value.shape) for key, value in model.state_dict().items()},
        "tied": [sorted(names) for names in tied_names(model) if len(names) > 1],
    }


def tied_names(model: torch.nn.Module) -> tuple[frozenset[str], ...]:
    """Return the state dict's names in groups; the names in a group refer to the same (tied) tensor."""
    names: dict[int, set[str]] = defaultdict(set)
    for key, value in model.state_dict(keep_vars=True).items():
        names[id(value)].add(key)
    return tuple(frozenset(group) for group in names.values())


def is_too_large(error: BaseException) -> bool:
    """Return whether an error means that a requested size does not fit in memory or overflows an integer.

    Args:
        error: What torch or a model class raised.

    Returns:
        True where it does.
    """
    return isinstance(error, MemoryError | OverflowError) or _TOO_LARGE.search(str(error)) is not None
