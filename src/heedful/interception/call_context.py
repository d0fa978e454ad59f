"""Pass facts about an attention call from an outer interceptor to an inner one.

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
    """Return the facts known about the running attention beyond its arguments."""
    return _context.get()


@contextmanager
def telling(known: CallContext) -> Iterator[None]:
    """Return a context in which inner interceptors receive the facts ``known``."""
    token = _context.set(known)
    try:
        yield
    finally:
        _context.reset(token)
