"""Find two-dimensional masks among a module's arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn

PLAIN = (bool, int, float, str)
DEEPEST = 3
"""How far into dictionaries, tuples and batch objects masks are looked for."""


@dataclass(slots=True)
class Handed:
    """Masks and token shapes found among a module's arguments.

    Attributes:
        masks: ``(batch, position)`` tensors whose name says mask, none that stands for another sequence, each with
            whether its name says that it marks padding.
        sequences: Shapes ``(batch, position)`` of the token ids and representations beside them.
        fresh: Whether token ids or an image came: what was handed to modules around says nothing of it.
    """

    masks: tuple[tuple[Tensor, bool], ...] = ()
    sequences: tuple[tuple[int, int], ...] = ()
    fresh: bool = False


NOTHING = Handed()
_names: dict[type, tuple[str, ...]] = {}


def handed(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Handed:
    """Search a module's arguments for masks and token ids.

    Args:
        module: The module.
        args: Positional arguments of its forward.
        kwargs: Keyword arguments.
    """
    if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and args[0].dim() == 3:
        return NOTHING
    masks: list[tuple[Tensor, bool]] = []
    sequences: list[tuple[int, int]] = []
    fresh = False
    for name, value in _named(module, args, kwargs):
        if not isinstance(value, Tensor) or "position" in name:
            continue
        if "mask" in name:
            if value.dim() == 2 and not any(word in name for word in ("encoder", "src", "source", "memory", "cross")):
                masks.append((value, "pad" in name))
        elif value.dim() == 2 and not value.is_floating_point():
            sequences.append((value.shape[0], value.shape[1]))
            fresh = True
        elif value.dim() == 3 and value.is_floating_point():
            sequences.append((value.shape[0], value.shape[1]))
            fresh = fresh or "embeds" in name
        elif any(word in name for word in ("pixel", "image", "video", "input_values", "input_features")):
            fresh = True
    return Handed(tuple(masks), tuple(sequences), fresh) if masks or fresh or sequences else NOTHING


def _named(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    names = _parameters(module) if args else ()
    for place, value in enumerate(args):
        if value is not None and not isinstance(value, PLAIN):
            yield from _inside(names[place] if place < len(names) else "", value, DEEPEST)
    for name, value in kwargs.items():
        if value is not None and not isinstance(value, PLAIN):
            yield from _inside(name, value, DEEPEST)


def _inside(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """A value, and what dictionaries, tuples and batch objects hold."""
    if value is None or isinstance(value, Tensor | str | int | float | nn.Module):
        yield name.lower(), value
        return
    if not depth or "past" in name or "cache" in name:
        return
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _inside(str(key), entry, depth - 1)
    elif hasattr(value, "_fields"):
        for key in value._fields:
            yield from _inside(key, getattr(value, key), depth - 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from _inside(entry.name, getattr(value, entry.name, None), depth - 1)
    elif isinstance(value, tuple | list) and len(value) <= 8:
        for entry in value:
            yield from _inside(name, entry, depth - 1)
    elif hasattr(value, "__dict__") and "attention_mask" in vars(value):
        for key, entry in vars(value).items():
            yield from _inside(key, entry, depth - 1)


def _parameters(module: nn.Module) -> tuple[str, ...]:
    cls = type(module)
    if cls not in _names:
        try:
            _names[cls] = tuple(inspect.signature(cls.forward).parameters)[1:]
        except (TypeError, ValueError):
            _names[cls] = ()
    return _names[cls]
