"""Where a model shall run and in which numbers: the user's words made into torch's, or refused."""

from __future__ import annotations

import torch

from heedful.core.errors import UsageError
from heedful.loading.wording import escaped

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
"""The dtypes that a model can be loaded in, by the name the command line takes."""


def resolve_device(device: str) -> torch.device:
    """The device of that name, once it is known to be there.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``xpu``.

    Returns:
        The device.

    Raises:
        UsageError: The name is none of these, or this machine has no such device.
    """
    shown = escaped(device, 40)
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"device {shown!r}: expected cpu, cuda, cuda:N, mps or xpu") from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    counts["xpu"] = torch.xpu.device_count() if hasattr(torch, "xpu") else 0
    if place.type not in counts:
        raise UsageError(f"device {shown!r}: expected cpu, cuda, cuda:N, mps or xpu")
    if (place.index or 0) >= counts[place.type]:
        found = f"this torch sees {counts[place.type]} {place.type} devices"
        raise UsageError(f"device {shown!r}: {found} (use --device cpu, or install a torch built for the device)")
    return place


def resolve_dtype(dtype: str, device: torch.device, declared: str | None = None) -> torch.dtype:
    """The dtype to load in.

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
