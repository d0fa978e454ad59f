"""Rotate all beliefs and frames by one common rotation and repeat attention: no weight may change."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from heedful.evaluation.running import run_model
from heedful.evaluation.study import Study
from heedful.gauge.frames import frames as rotations

SEQUENCES = 2
ANGLES = (0.9, -1.7, 1.2)
"""The rotation: 2.3 radians about an axis along none of the coordinates'."""


@dataclass(frozen=True)
class RotatedLayer:
    """Effect of one common rotation of all beliefs and frames on the outputs of a layer.

    Attributes:
        path: Path of the attention module.
        layer: Its index among those that carry beliefs from frame to frame.
        frames: Largest entry of ``R^T R - 1``, infinite where a frame is a reflection.
        change: Largest difference of a message from the turned one, over the largest entry of a message; NaN where
            messages are not finite.
    """

    path: str
    layer: int
    frames: float
    change: float


def rotated_layers(study: Study) -> list[RotatedLayer]:
    """Rotate the first sequences in each attention module with non-scalar frames and compare the outputs.

    Args:
        study: The study; its model is run once, and each of these modules twice.

    Returns:
        In the order of the calls; empty where no module has frames.
    """
    carrying = _carrying(study.model)
    if not carrying:
        return []
    batch = study.batches[0]
    with torch.no_grad(), _given(carrying) as calls:
        run_model(study.model, batch.input_ids[:SEQUENCES], batch.attention_mask[:SEQUENCES])
    with torch.no_grad():
        return [_turned(path, layer, module, given) for layer, (path, module, given) in enumerate(calls)]


def _carrying(model: nn.Module) -> dict[str, nn.Module]:
    """Path to module of attention that takes frames which are not all scalars."""
    found = {}
    for path, module in model.named_modules():
        irreps: Any = getattr(getattr(module, "layout", None), "irreps", None)
        if irreps is not None and any(irreps.orders):
            names = set(inspect.signature(module.forward).parameters)
            if {"hidden", "frames", "attention_mask", "cache"} <= names:
                found[path] = module
    return found


@contextmanager
def _given(modules: Mapping[str, nn.Module]) -> Iterator[list[tuple[str, nn.Module, inspect.BoundArguments]]]:
    """Modules as they are called, each with its arguments."""
    calls: list[tuple[str, nn.Module, inspect.BoundArguments]] = []

    def meeting(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def captured(module: nn.Module, args: Any, keywords: Any) -> None:
            calls.append((path, module, inspect.signature(module.forward).bind(*args, **keywords)))

        return captured

    handles = [module.register_forward_pre_hook(meeting(path), with_kwargs=True) for path, module in modules.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _turned(path: str, layer: int, module: Any, given: inspect.BoundArguments) -> RotatedLayer:
    own: tuple[Tensor, ...] = given.arguments["frames"]
    phi = own[0].new_tensor(ANGLES)
    by = [rotations(phi, order) for _, order in module.layout.irreps.groups]
    copies = [number for number, _ in module.layout.irreps.groups]
    whole = torch.block_diag(*[turn for turn, number in zip(by, copies, strict=True) for _ in range(number)])
    given.arguments["cache"] = None  # the first run filled it
    plain = module(*given.args, **given.kwargs)[0]
    changed = inspect.BoundArguments(given.signature, given.arguments.copy())
    if module.layout.own_frames:  # diagonal in its own frame, a belief may be turned in the common one alone
        changed.arguments["frames"] = tuple(frame @ turn for turn, frame in zip(by, own, strict=True))
        turned = module(*changed.args, **changed.kwargs)[0]
        apart = (turned - plain).abs().max() / plain.abs().max()
        return RotatedLayer(path, layer, max(_off(frame) for frame in own), float(apart))
    changed.arguments["hidden"] = given.arguments["hidden"].to(whole) @ whole.T
    changed.arguments["frames"] = tuple(turn @ frame for turn, frame in zip(by, own, strict=True))
    turned = module(*changed.args, **changed.kwargs)[0]
    apart = (turned - plain.to(whole) @ whole.T).abs().max() / plain.abs().max()
    return RotatedLayer(path, layer, max(_off(frame) for frame in own), float(apart))


def _off(frame: Tensor) -> float:
    """How far frames are from rotations."""
    wide = frame.double()
    unit = torch.eye(wide.shape[-1], dtype=wide.dtype, device=wide.device)
    if bool((torch.linalg.det(wide) < 0).any()):
        return float("inf")
    return float((wide.mT @ wide - unit).abs().max())
