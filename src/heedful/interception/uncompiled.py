"""Run the eager forward of compiled models while they are hooked.

Compiled code passes by hooks and tables, or, worse, the compiler traces into them. ``torch.compiler.set_stance`` turns
every ``torch.compile`` of the process into its eager original and back, without touching what was compiled: afterwards
the same compiled code runs again. The stance is one for all threads, so it is held while any interception runs.

Mark forwards that heedful runs itself, so that they are not counted as the user's.

Detect models whose config has no attention heads, such as control models.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

WRAPPED = "_orig_mod"
"""Name under which a compiled module holds its original."""


@dataclass
class _Hold:
    count: int = 0
    stance: Any = None


_hold = _Hold()
_lock = threading.Lock()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Return a context in which compiled code runs eagerly; the compiler stance is restored afterwards."""
    with _lock:
        if not _hold.count:
            _hold.stance = torch.compiler.set_stance("force_eager")
        _hold.count += 1
    try:
        yield
    finally:
        with _lock:
            _hold.count -= 1
            if not _hold.count:
                _hold.stance.__exit__(None, None, None)
                _hold.stance = None


def plain_path(path: str) -> str:
    """Return a module's path without ``torch.compile`` wrappers."""
    return ".".join(part for part in path.split(".") if part != WRAPPED)


def module_at(model: nn.Module, path: str) -> nn.Module:
    """Return the module at a path without ``torch.compile`` wrappers.

    Raises:
        AttributeError: There is none.
    """
    try:
        return model.get_submodule(path)
    except AttributeError:
        for own, module in model.named_modules():
            if plain_path(own) == path:
                return module
        raise


def original(model: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile`` wrapped, or the module itself."""
    while isinstance(inner := getattr(model, WRAPPED, None), nn.Module):
        model = inner
    return model


_here = threading.local()


def depth() -> int:
    """Return how many of heedful's own forwards are nested in this thread."""
    return int(getattr(_here, "depth", 0))


@contextmanager
def internal_forward() -> Iterator[None]:
    """Return a context for heedful's own forwards, which outer captures do not count."""
    _here.depth = depth() + 1
    try:
        yield
    finally:
        _here.depth -= 1


def without_heads(model: nn.Module) -> str:
    """Return why no attention can be captured if the config states 0 attention heads; an empty string otherwise.

    Args:
        model: The model.

    Returns:
        One clause; empty where the config gives heads, or says nothing of them.
    """
    heads = getattr(getattr(model, "config", None), "num_attention_heads", None)
    return "num_attention_heads = 0 in its config: it has no attention" if heads == 0 else ""
