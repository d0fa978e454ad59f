"""Forwards that heedful makes of its own accord, told apart from those that the user makes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_here = threading.local()


def depth() -> int:
    """How many pieces of heedful's own work this thread is inside of."""
    return int(getattr(_here, "depth", 0))


@contextmanager
def internal_forward() -> Iterator[None]:
    """Forwards inside are heedful's own: captures that were begun outside do not count them."""
    _here.depth = depth() + 1
    try:
        yield
    finally:
        _here.depth -= 1
