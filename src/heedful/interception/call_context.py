"""Facts that an outer interception knows about a call and an inner one lacks.

Where captures are nested, the innermost answers ``nn.MultiheadAttention`` and the others see only the
``scaled_dot_product_attention`` or the softmax inside it, which know nothing of padded queries and appended keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from heedful.attention.call import AttentionCall

CallContext = Callable[[AttentionCall], AttentionCall]


def _nothing(call: AttentionCall) -> AttentionCall:
    return call


_context: ContextVar[CallContext] = ContextVar("call_context", default=_nothing)


def call_context() -> CallContext:
    """What is known about the running attention beyond its own arguments."""
    return _context.get()


@contextmanager
def telling(known: CallContext) -> Iterator[None]:
    """Make these facts available to interceptions of inner calls."""
    token = _context.set(known)
    try:
        yield
    finally:
        _context.reset(token)
