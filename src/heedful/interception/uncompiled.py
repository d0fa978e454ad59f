"""Run the eager forward of compiled models while they are hooked.

Compiled code passes by hooks and tables, or, worse, the compiler traces into them. ``torch.compiler.set_stance`` turns
every ``torch.compile`` of the process into its eager original and back, without touching what was compiled: afterwards
the same compiled code runs again. The stance is one for all threads, so it is held while any interception runs.
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
