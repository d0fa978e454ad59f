"""``--device auto``: distribute a model over all devices of the machine with accelerate."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from heedful.errors import ResourceLimit, UsageError
from heedful.loading.memory import available_bytes
from heedful.loading.wording import escaped, reason

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
