"""Sums of several processes made one: one all-reduce a recorded step."""

from __future__ import annotations

import torch
import torch.distributed as dist

from heedful.keys import Sums


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _several() else 0


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def over_ranks(sums: Sums, device: torch.device) -> Sums:
    """What all processes summed, by one all-reduce; every process must call it, with the same names.

    Args:
        sums: Those of this process.
        device: Where the processes' backend exchanges tensors.

    Returns:
        Those of all; this process's own where it is alone.
    """
    if not _several():
        return sums
    count = dist.get_world_size()
    packed = sums.packed(dist.get_rank(), count)
    # Gloo exchanges memory of the host, others that of their device.
    place = torch.device("cpu") if dist.get_backend() == "gloo" else device
    total = packed.to(place)
    dist.all_reduce(total)
    return sums.unpacked(total.cpu(), count)
