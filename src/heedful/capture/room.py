"""``heedful.capture`` is a function of the public API and the package that holds it; this makes the package callable.

Once anything has imported the package, Python binds the name ``capture`` in ``heedful`` to it, and no lazy loading can
take that back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType

from torch import nn

from heedful.capture.session import Session, capture


class CallableRoom(ModuleType):
    """The package ``heedful.capture``, which passes calls on to the function of that name."""

    def __call__(
        self,
        model: nn.Module,
        *,
        engine: str = "auto",
        layers: Sequence[int | str] | None = None,
        heads: Sequence[int] | None = None,
        every: int = 1,
    ) -> AbstractContextManager[Session]:
        """``heedful.capture.capture``."""
        return capture(model, engine=engine, layers=layers, heads=heads, every=every)
