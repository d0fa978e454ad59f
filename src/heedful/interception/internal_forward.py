"""Mark forwards that heedful runs itself, so that they are not counted as the user's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
