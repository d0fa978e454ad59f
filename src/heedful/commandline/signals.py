"""Make Ctrl-C and SIGTERM raise, and raise again if another package swallows the exception.

A signal that arrives while some package tries an optional import under a bare ``except`` is lost with the import: the
run goes on, and whoever sent the signal waits in vain. So a timer looks whether the exception is still on its way.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

PATIENCE = 1.0
"""Seconds after which an exception that nothing handles any more is raised again."""


class Terminated(BaseException):
    """Raised on SIGTERM; started work is cleaned up as the exception propagates."""


@contextmanager
def stops_raise() -> Iterator[None]:
    """Return a context in which SIGTERM raises ``Terminated`` and Ctrl-C ``KeyboardInterrupt`` in the main thread.

    Handlers and timer are as before afterwards. Does nothing in another thread, or where Ctrl-C is handled by others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = _Stop()
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before: list[Any] = [signal.signal(number, stop.arrived) for number in numbers]
    try:
        yield
    except Exception as error:
        if stop.came:  # what another package has made of it, such as "initialization failed" of an import
            raise stop.raised from error
        raise
    finally:
        stop.over()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Stop:
    """One signal, from its arrival until its exception has left."""

    def __init__(self) -> None:
        self.raised: type[BaseException] = Terminated
        self.came = False
        self.alarm: Any = None

    def arrived(self, number: int, _frame: FrameType | None) -> None:
        self.came = True
        self.raised = KeyboardInterrupt if number == signal.SIGINT else Terminated
        if self.alarm is None and hasattr(signal, "setitimer"):
            self.alarm = signal.signal(signal.SIGALRM, self.again) or signal.SIG_DFL
            signal.setitimer(signal.ITIMER_REAL, PATIENCE, PATIENCE)
        raise self.raised

    def again(self, _number: int, _frame: FrameType | None) -> None:
        """Raise once more, but not into the blocks that clean up while the exception passes them."""
        error = sys.exc_info()[1]
        while error is not None and not isinstance(error, self.raised):
            error = error.__context__
        if error is None:
            raise self.raised

    def over(self) -> None:
        if self.alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.alarm)
