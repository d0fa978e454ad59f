"""Convert device and dtype names to torch objects, or raise an error.

``--device auto``: distribute a model over all devices of the machine with accelerate.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import torch

from heedful.errors import ResourceLimit, UsageError
from heedful.loading.memory import available_bytes
from heedful.loading.wording import escaped, reason

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


AUTO = "auto"


def accelerate_library() -> Any:
    """Return the accelerate library, or raise an error if it is missing.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import accelerate
    except ImportError as error:
        message = "device 'auto': needs accelerate, which is not installed (pip install accelerate, or name one device)"
        raise UsageError(message) from error
    return accelerate


def main_device() -> torch.device:
    """Return the machine's accelerator, or the CPU if there is none; used to choose the dtype when a model is
    distributed.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return torch.device("cpu") if found is None else found


ROOM = 1.5
"""Memory that one device must have free for a model, as a multiple of its weights."""


def fits_on(model: torch.nn.Module, device: torch.device) -> bool:
    """Return whether a model and its activations fit on one device.

    Args:
        model: The model, in memory.
        device: The machine's accelerator.
    """
    size = sum(p.numel() * p.element_size() for p in (*model.parameters(), *model.buffers()))
    return ROOM * size <= available_bytes(str(device))


def spread(model: torch.nn.Module, name: str) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """Distribute a model over all devices, each layer whole on one device; return the model and a note on its
    placement.

    Args:
        model: The model, in memory.
        name: What the user called it.

    Returns:
        The model, with accelerate's hooks where it lies on more than one device, and a note that says where it lies.

    Raises:
        UsageError: accelerate is not installed.
        ResourceLimit: All devices together do not take it.
    """
    accelerate = accelerate_library()
    whole = sorted(getattr(model, "_no_split_modules", None) or ())
    layout = accelerate.infer_auto_device_map(model, no_split_module_classes=whole)
    places = Counter(str(torch.device(place)) if place != "disk" else "disk" for place in layout.values())
    if "disk" in places:
        message = "does not fit on the devices and in memory together"
        raise ResourceLimit(f"{escaped(name)}: {message} (use --dtype bfloat16, or a machine with more)")
    try:
        if len(places) == 1:
            model = model.to(next(iter(places)))
        else:
            model = accelerate.dispatch_model(model, layout)
    except RuntimeError as error:
        raise ResourceLimit(
            f"{escaped(name)}: could not be spread over {', '.join(places)}: {reason(error)}"
        ) from error
    shown = ", ".join(f"{place} ({count} part{'s' * (count != 1)})" for place, count in places.items())
    return model, (f"--device auto: the model lies on {shown}",)
