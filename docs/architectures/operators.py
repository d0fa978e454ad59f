"""torchvision beside a torch that its compiled operators were not built for."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from typing import Any

import torch

BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_kept: list[Any] = []


def declare() -> None:
    """Let torchvision be imported where its operators cannot be loaded: their names are declared, nothing runs them.

    timm and some of transformers import torchvision for its pictures; no model of the page suppresses boxes.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    with suppress(ImportError, RuntimeError, OSError):
        import torchvision  # noqa: F401

        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    _kept.append(library)
    for name in ("nms", "qnms"):
        with suppress(RuntimeError):
            library.define(name + BOXES)
