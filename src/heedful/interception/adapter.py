r"""Read attention from a module's output, with a reader that the user's adapter returns.

An adapter is a function of ten lines from a module to a reader of its output, or None for modules that it leaves
alone::

    def adapter(module):
        if type(module).__name__ != "KLAttention":
            return None

        def read(output):
            messages, beta, kl = output
            return {"weights": beta, "divergence": kl, "kappa": module.kappa}

        return read

A reader returns a dictionary with ``weights`` ``(batch, head, query, key)`` or ``divergence`` of that shape with
``kappa`` (a number, or one a head; 1 without it): the weights are then :math:`\operatorname{softmax}(-KL / \kappa)`.
With both, the divergence is the logits and must give the weights, which proves the reader. ``visible`` (bool, of that
shape or one that broadcasts to it) says which keys a query may see; without it, those whose weight is above 0.
``with_weights``, a function from other weights to the module's output, lets ``heedful.replace`` change them.

What happens inside a module that is read is not captured again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import nn

from heedful.errors import UsageError

Reader = Callable[[Any], Mapping[str, Any]]
Adapter = Callable[[nn.Module], Reader | None]

_adapter: ContextVar[Adapter | None] = ContextVar("adapter", default=None)


@contextmanager
def reading_with(adapter: Adapter | None) -> Iterator[None]:
    """Return a context in which this adapter reads modules' outputs; None keeps the adapter that is set.

    Args:
        adapter: The adapter.

    Raises:
        UsageError: It is no function.
    """
    if adapter is None:
        yield
        return
    if not callable(adapter):
        raise UsageError(f"adapter: expected a function from a module to a reader, got {type(adapter).__name__}")
    token = _adapter.set(adapter)
    try:
        yield
    finally:
        _adapter.reset(token)


def reader_of(module: nn.Module) -> Reader | None:
    """Return the adapter's reader of this module's output; None if no adapter is set or the adapter skips the module.

    Raises:
        UsageError: The adapter returned something else.
    """
    adapter = _adapter.get()
    reader = None if adapter is None else adapter(module)
    if reader is not None and not callable(reader):
        got = type(reader).__name__
        raise UsageError(f"adapter: expected a function of the output, or None, for {type(module).__name__}; got {got}")
    return reader
