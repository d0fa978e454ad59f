"""Convert device and dtype names to torch objects, or raise an error."""

from __future__ import annotations

import re

import torch

from heedful.errors import UsageError
from heedful.loading.wording import escaped

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
"""The dtypes that a model can be loaded in, by the name the command line takes."""

_NAME = re.compile(r"(?P<family>cpu|cuda|mps|xpu)(?::(?P<index>\d{1,3}))?")
"""Parsed here, for torch takes an index modulo 256."""


def resolve_device(device: str) -> torch.device:
    """Return the torch device of that name, after checking that it exists.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``xpu``.

    Returns:
        The device.

    Raises:
        UsageError: The name is none of these, or this machine has no such device.
    """
    shown = escaped(device, 40)
    named = _NAME.fullmatch(device)
    if named is None:
        raise UsageError(f"device {shown!r}: expected auto, cpu, cuda, cuda:N, mps or xpu")
    family, index = named["family"], int(named["index"] or 0)
    count = _count(family)
    if index >= count:
        found = f"this torch sees {count} {family} device{'s' * (count != 1)}"
        raise UsageError(f"device {shown!r}: {found} (use --device cpu, or install a torch built for the device)")
    return torch.device(family) if named["index"] is None else torch.device(family, index)


def _count(family: str) -> int:
    if family == "cuda":
        return torch.cuda.device_count()
    if family == "mps":
        return int(torch.backends.mps.is_available())
    if family == "xpu":
        return torch.xpu.device_count()
    return 1


def resolve_dtype(dtype: str, device: torch.device, declared: str | None = None) -> torch.dtype:
    """Return the dtype to load the model in.

    Args:
        dtype: A key of ``DTYPES``, or ``auto``: float32 on a CPU, the checkpoint's own elsewhere.
        device: Where the model will run.
        declared: The dtype that the checkpoint's config declares.

    Returns:
        The dtype.

    Raises:
        UsageError: The name is unknown, or the device cannot compute in it.
    """
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else DTYPES.get(declared or "", torch.float32)
    if dtype not in DTYPES:
        raise UsageError(f"dtype {escaped(dtype, 40)!r}: expected auto, {', '.join(DTYPES)}")
    if device.type == "mps" and dtype == "float64":
        raise UsageError("dtype 'float64': mps has none (use --device cpu or --dtype float32)")
    return DTYPES[dtype]
