"""Refuse work that would not fit into free memory, before allocating anything."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from heedful.errors import ResourceLimit

SHARE = 0.6
"""Part of the free memory that one piece of work may take; the rest is left to the run and to others."""

_UNLIMITED = 1 << 60
_CGROUP = Path("/sys/fs/cgroup")
_CACHE = ("inactive_file ", "total_inactive_file ")


def ensure_fits(wanted_bytes: int, what: str, *, device: str = "cpu", hint: str = "") -> None:
    """Raise an error if work needs more than the fraction ``SHARE`` of free memory.

    Args:
        wanted_bytes: Estimated bytes.
        what: What takes them, for the message.
        device: Where they would be allocated.
        hint: What to do about it.

    Raises:
        ResourceLimit: It would not fit; nothing was allocated.
    """
    free = available_bytes(device)
    if wanted_bytes > SHARE * free:
        raise ResourceLimit(
            f"{what}: needs about {in_units(wanted_bytes)} on {device}, expected at most {in_units(SHARE * free)} "
            f"({SHARE:.0%} of the {in_units(free)} that are free)" + (f" ({hint})" if hint else "")
        )


def available_bytes(device: str = "cpu") -> int:
    """Return how many bytes can still be allocated: the GPU's free memory, or otherwise the least of what the machine,
    the cgroup and the address-space limit leave.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:1``; anything else is counted as main memory.

    Returns:
        Bytes.
    """
    if device != "cpu":  # torch takes seconds to import, which counting has no need of
        import torch

        if torch.device(device).type == "cuda":
            return int(torch.cuda.mem_get_info(torch.device(device))[0])
    return max(0, min(_machine(), _cgroup(), _address_space()))


def in_units(count: float) -> str:
    """Format bytes with a unit: ``3.2 GiB``.

    Args:
        count: Bytes.

    Returns:
        The count with three significant digits and a binary unit.
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} EiB"


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _UNLIMITED


def _cgroup() -> int:
    """Room under the memory limits of this process's control groups, version 2 or 1."""
    folders = [_CGROUP, _CGROUP / "memory"]
    try:
        for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines():
            _, controllers, place = line.split(":", 2)
            base = _CGROUP / "memory" if "memory" in controllers.split(",") else _CGROUP
            inner = base / place.lstrip("/")
            folders += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(base)]
    except (OSError, ValueError):
        pass
    return min((_free_bytes(folder) for folder in folders), default=_UNLIMITED)


def _free_bytes(folder: Path) -> int:
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            bound = (folder / limit).read_text("ascii").strip()
            if bound != "max" and int(bound) < _UNLIMITED:
                return int(bound) - int((folder / used).read_text("ascii")) + _reclaimable(folder)
        except (OSError, ValueError):
            continue
    return _UNLIMITED


def _reclaimable(folder: Path) -> int:
    """Bytes of file cache that a full group gives back."""
    try:
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(_CACHE)), 0)


def _address_space() -> int:
    if sys.platform == "win32":
        return _UNLIMITED
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return _UNLIMITED
    try:
        return soft - int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return soft
