"""Process untrusted input in a child process with limited memory and CPU time.

A count in a config, or a pattern in a tokenizer, can ask for work that never ends or fills the memory, at places that
no list of keys can foresee. So the work is first done in a child: a fork of this process, warm, with limits that the
system holds. What comes back is JSON, or bytes, or the refusal. Nothing that the child prints is shown.

Where processes cannot be forked (Windows, macOS), the work is done in this process without these limits.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import heedful.errors
from heedful.errors import HeedfulError, InputRejected, ResourceLimit

MIB = 1 << 20
MOST_ANSWER = 1 << 30
"""Bytes of an answer; the shapes of 100,000 tensors take a hundredth of it."""

_SLOWER, _LEAST_WAIT = 4, 10.0
_LENGTH = 8
_JSON, _BYTES = b"J", b"B"
_RAISED, _BEYOND = "raised", "beyond"
_inside = False


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Memory and time limits of a child process.

    Attributes:
        seconds: Processor time. The parent waits four times as long, and 10 s more, for machines that are busy.
        memory: Bytes beyond those that this process holds when the child begins.
    """

    seconds: float
    memory: int


def can_bound() -> bool:
    """Return whether this system supports limited child processes: Linux with ``os.fork``."""
    return sys.platform.startswith("linux") and hasattr(os, "fork")


def bounded(work: Callable[[], Any], bounds: Bounds, refuse: Callable[[str], HeedfulError]) -> Any:
    """Run ``work`` in a child process with limits and return its result.

    Args:
        work: What to do; it returns bytes, or what JSON can say.
        bounds: What it may take.
        refuse: Makes the error for work that was stopped, out of the words that say why.

    Returns:
        What the work returned, after a way through JSON: tuples come as lists.

    Raises:
        HeedfulError: What the work raised, or ``refuse``'s where it went beyond its limits or ended the process.
        ResourceLimit: No process can be started.
    """
    if _inside or not can_bound():
        return work()
    reading, writing = (_above_streams(descriptor) for descriptor in os.pipe())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads; the child uses none
            child = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise ResourceLimit(f"no process can be started: {error.strerror} (end other programs)") from error
    if child == 0:
        _serve(work, bounds, reading, writing)
    os.close(writing)
    try:
        answer, message = _answer(reading, time.monotonic() + _SLOWER * bounds.seconds + _LEAST_WAIT)
    finally:
        os.close(reading)
        status = _ended(child)
    if answer is None:
        raise refuse(message or _why(status, bounds))
    return _opened(answer, refuse)


def _above_streams(descriptor: int) -> int:
    """The same pipe under a number above 2: where standard streams are closed, a pipe may get one of theirs."""
    import fcntl

    if descriptor > 2:
        return descriptor
    higher = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return higher


def _serve(work: Callable[[], Any], bounds: Bounds, reading: int, writing: int) -> NoReturn:
    """The child: work, write the answer, leave without any of the parent's clean-ups."""
    global _inside
    code = 1
    try:
        os.close(reading)
        _inside = True
        gc.disable()
        _silence()
        _limit(bounds)
        made = work()
        _write(
            writing, _BYTES + made if isinstance(made, bytes) else _JSON + json.dumps({"value": made}).encode("ascii")
        )
        code = 0
    except BaseException as error:
        with contextlib.suppress(BaseException):
            _write(writing, _JSON + json.dumps(_error_document(error)).encode("ascii"))
            code = 0
    finally:
        os._exit(code)


def _silence() -> None:
    """Signals as at the start of a program; standard output and error into nothing."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    sys.stdout = sys.stderr = os.fdopen(nowhere, "w")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # threads of the parent's pool are not here


def _limit(bounds: Bounds) -> None:
    import resource

    try:
        held = [int(count) * resource.getpagesize() for count in Path("/proc/self/statm").read_text("ascii").split()]
        mapped, data = held[0], held[5]
    except (OSError, ValueError, IndexError):
        mapped = data = 1 << 40
    seconds = max(1, round(bounds.seconds))
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_DATA, data + bounds.memory)
    _lower(resource.RLIMIT_AS, mapped + bounds.memory + 1024 * MIB)  # libraries and threads map more than they use
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 64 * MIB)


def _lower(which: int, wanted: int) -> None:
    import resource

    soft, hard = resource.getrlimit(which)
    known = [bound for bound in (soft, hard, wanted) if bound != resource.RLIM_INFINITY]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(which, (min(known), hard))


def _error_document(error: BaseException) -> dict[str, Any]:
    """An error in JSON; one that is not heedful's is the business of the caller's ``refuse``."""
    if isinstance(error, InputRejected):
        return {_RAISED: type(error).__name__, "arguments": [error.subject, error.what, error.fix]}
    if isinstance(error, HeedfulError):
        return {_RAISED: type(error).__name__, "arguments": [str(error)]}
    if isinstance(error, MemoryError):
        return {_BEYOND: "it asks for more memory than it may take"}
    from heedful.loading.wording import reason

    name = "it broke off" if type(error).__name__ == "PanicException" else type(error).__name__
    return {_BEYOND: f"{name}: {reason(error)}" if str(error).strip() else name}


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(len(content).to_bytes(_LENGTH, "little") + content)
    while left:
        left = left[os.write(descriptor, left[: 1 << 16]) :]


def _answer(descriptor: int, until: float) -> tuple[bytes | None, str]:
    """What the child wrote; None where it ended, or was waited for too long, which the text says."""
    content, wanted = bytearray(), _LENGTH
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    while len(content) < wanted:
        left = until - time.monotonic()
        if left <= 0 or not poll.poll(1000 * left):
            return None, "it takes longer than it may"
        part = os.read(descriptor, 1 << 20)
        if not part:
            return None, ""
        content += part
        if len(content) >= _LENGTH:
            wanted = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
            if wanted > MOST_ANSWER:
                return None, "its answer is too long"
    return bytes(content[_LENGTH:]), ""


def _ended(child: int) -> int | None:
    """The status of the child, which is ended if it has not left by itself."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        done, status = os.waitpid(child, os.WNOHANG)
        if not done:
            # One that has answered is about to leave, and is left to; the status of no other matters.
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        return status
    return None


def _why(status: int | None, bounds: Bounds) -> str:
    number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else 0
    if number in (signal.SIGXCPU, signal.SIGKILL):
        return f"it takes more than {bounds.seconds:g} s of processor time"
    if number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGTRAP, signal.SIGILL):
        return f"it takes more than {bounds.memory // MIB:,} MiB of memory, or it crashes"
    return "the process that tried it has ended"


def _opened(content: bytes, refuse: Callable[[str], HeedfulError]) -> Any:
    if content[:1] == _BYTES:
        return content[1:]
    answer = json.loads(content[1:])
    if "value" in answer:
        return answer["value"]
    if _BEYOND in answer:
        raise refuse(answer[_BEYOND])
    kind = getattr(heedful.errors, answer[_RAISED], HeedfulError)
    raise kind(*answer["arguments"])
