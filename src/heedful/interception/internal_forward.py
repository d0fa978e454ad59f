"""Forwards that heedful runs itself, distinguished from those of the user."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_here = threading.local()


def depth() -> int:
    """How many of heedful's own forwards are nested in this thread."""
    return int(getattr(_here, "depth", 0))


@contextmanager
def internal_forward() -> Iterator[None]:
    """Forwards inside this block are heedful's own; captures opened outside do not count them."""
    _here.depth = depth() + 1
    try:
        yield
    finally:
        _here.depth -= 1
