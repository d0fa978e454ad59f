"""Merge the sums of several processes with one all-reduce per recorded step."""

from __future__ import annotations

import sys
import time

import torch
import torch.distributed as dist

from heedful.monitoring.vectors.sums import Sums

PATIENCE = 5.0
"""Seconds after which a backend's hold on a tensor is its own concern."""
REST = 2e-3
"""Seconds for what else the thread lets go of, which does not show from here."""


def rank() -> int:
    """Return the rank of this process, from 0."""
    return dist.get_rank() if _several() else 0


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def over_ranks(sums: Sums, device: torch.device) -> Sums:
    """Return the sums over all processes, by one all-reduce; every process must call it with the same names.

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
    sum_of_all(total)
    return sums.unpacked(total.cpu(), count)


def sum_of_all(own: torch.Tensor) -> None:
    """Sum a tensor over all processes in place, and wait until the backend has released the tensor.

    Gloo's thread lets go a moment after the exchange, for which it needs the interpreter. A process that lets go of
    DistributedDataParallel in that moment holds the interpreter while it waits for the thread, and both wait for ever.

    Args:
        own: This process's numbers; those of all afterwards.
    """
    holders = sys.getrefcount(own)
    dist.all_reduce(own)
    until = time.monotonic() + PATIENCE
    while sys.getrefcount(own) > holders and time.monotonic() < until:
        time.sleep(1e-4)
    time.sleep(REST)
