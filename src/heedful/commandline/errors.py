"""Convert every error of a command to an exit code and at most one line on standard error.

::

    0 passed    1 validation failed    2 usage       3 input rejected    4 resource limit
    5 output    6 internal             130 Ctrl-C    141 broken pipe     143 SIGTERM

Make Ctrl-C and SIGTERM raise, and raise again if another package swallows the exception.

A signal that arrives while some package tries an optional import under a bare ``except`` is lost with the import: the
run goes on, and whoever sent the signal waits in vain. So a timer looks whether the exception is still on its way.
"""

import contextlib
import errno
import functools
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

import typer

from heedful.errors import OutputError
from heedful.loading.wording import ADVICE
from heedful.reporting.escape import visible

FAILED, RESOURCES, OUTPUT, INTERNAL, INTERRUPTED, BROKEN_PIPE, TERMINATED = 1, 4, 5, 6, 130, 141, 143
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class Silent(BaseException):
    """Exit with a code and print nothing, because another process of the run prints the message."""

    def __init__(self, code: int) -> None:
        self.exit_code = code
        super().__init__(code)


def guarded(command: Callable[..., int]) -> Callable[..., None]:
    """Wrap a command so that it always exits with an exit code, even if it raises."""

    @functools.wraps(command)
    def leave(*arguments: Any, **options: Any) -> None:
        code = outcome(lambda: command(*arguments, **options), debug=bool(options.get("debug")))
        if code:
            raise typer.Exit(code)

    return leave


def outcome(work: Callable[[], int | None], *, debug: bool = False) -> int:
    """Run ``work`` and return its exit code; a failure prints one line on standard error.

    Args:
        work: What to do; it returns an exit code, or None for success.
        debug: Whether to show the traceback above the line.

    Returns:
        The exit code.
    """
    try:
        with stops_raise():
            code = work() or 0
            if sys.stdout is not None:
                sys.stdout.flush()
        return code
    except typer.Exit:
        raise
    except SystemExit as left:
        if not isinstance(left.__context__, BrokenPipeError):
            raise
        _close(sys.stdout)
        return BROKEN_PIPE
    except BrokenPipeError:
        _close(sys.stdout)
        return BROKEN_PIPE
    except BaseException as error:
        code = exit_code(error)
        if code == OUTPUT:
            _close(sys.stdout)
        _print_error(error, debug=debug)
        return code


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error: its own, or that of its class."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, Terminated):
        return TERMINATED
    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return own
    if _out_of_memory(error):
        return RESOURCES
    return OUTPUT if isinstance(error, OSError) and error.errno in _FULL else INTERNAL


def message(error: BaseException) -> str:
    """Return one line: what is affected, what is wrong, and how to fix it."""
    if isinstance(error, KeyboardInterrupt | Terminated):
        word = "interrupted" if isinstance(error, KeyboardInterrupt) else "terminated"
        more = f" {error}" if str(error) else ""
        return f"heedful: {word}{more} (nothing was left half-written)"
    if hasattr(error, "format_message"):
        return _usage(error)
    if isinstance(getattr(error, "exit_code", None), int):
        return str(error)
    if _out_of_memory(error):
        what = " ".join(str(error).split()) or "exhausted"
        return f"memory: {what} (ask for less at once: --sequences, --seq-len, --batch, a --set width)"
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"{error.filename or 'standard output'}: {error.strerror} (free some space)"
    text = (
        " ".join(" ".join(line for line in str(error).splitlines() if not ADVICE.search(line)).split()) or "no message"
    )
    return f"heedful: internal: {type(error).__name__}: {text} (run again with --debug and tell the developers)"


def _usage(error: Any) -> str:
    """A parser's complaint with the option in front, as every other message has its subject."""
    command = getattr(getattr(error, "ctx", None), "command_path", "heedful")
    names = getattr(getattr(error, "param", None), "opts", None)
    subject, what = (names[-1], error.message) if names and error.message else (command, error.format_message())
    return f"{subject}: {str(what).removeprefix('Value error, ').rstrip('.')} (see {command} --help)"


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _print_error(error: BaseException, *, debug: bool) -> None:
    if sys.stderr is None or (isinstance(error, Silent) and not debug):
        return
    lines = "".join(traceback.format_exception(error)).splitlines() if debug else []
    lines = [line for line in lines if not ADVICE.search(line)]  # no advice to trust a file, not ours at any rate
    with contextlib.suppress(OSError):
        for line in (*lines, f"error: {message(error)}"):
            typer.echo(visible(line, sys.stderr.encoding or "ascii"), err=True)


class _ClosedOutput(io.TextIOBase):
    """Standard output where there is none (``>&-``): whoever writes to it is told, and no result is lost unseen."""

    encoding = "ascii"

    def writable(self) -> bool:
        """True: writing is what is told of."""
        return True

    def write(self, _text: str) -> int:
        """Refuse.

        Raises:
            OutputError: Always.
        """
        raise OutputError("standard output: it is closed (open it, or write to a file)")


def occupy_streams() -> None:
    """Open the null device for closed standard streams, so that no other file gets their descriptors."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()


def _close(stream: TextIO | None) -> None:
    """Let what is left in the stream go nowhere, so that the interpreter's last flush says nothing."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)


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
