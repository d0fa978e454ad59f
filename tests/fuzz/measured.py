"""One call in a fork of this process: its exit code as the command line would give it, its time, memory and words."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from heedful.errors import HeedfulError

UNBOUND = 120
"""Seconds after which a call is ended."""


@dataclass(frozen=True)
class Outcome:
    """What a call came to.

    Attributes:
        code: 0, the exit code of a HeedfulError, 99 for another error, or minus the signal that ended it.
        value: What it returned.
        message: What it raised, in words.
        said: What was written to standard output and error.
        seconds: Wall time.
        bytes: Most memory of it or of a child of its, beyond what this process held when it was forked.
    """

    code: int
    value: Any
    message: str
    said: str
    seconds: float
    bytes: int

    def sound(self, seconds: float, size: int, codes: tuple[int, ...] = (0, 3, 4)) -> bool:
        """Whether it kept to bounds, said nothing, and refused in one line."""
        quiet = not self.said and self.message.isprintable() and "weights_only" not in self.message
        return self.code in codes and self.seconds < seconds and self.bytes < size and quiet


def measured(call: Callable[[], Any]) -> Outcome:
    """Make the call in a fork of this process."""
    reading, writing = os.pipe()
    began, held = time.monotonic(), _resident()
    with TemporaryFile() as words:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            _made(call, writing, words.fileno())
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        _, status, usage = os.wait4(child, 0)
        words.seek(0)
        said = words.read(10_000).decode("utf-8", "replace")
    found = json.loads(answer) if answer else {}
    code = found.get("code", os.waitstatus_to_exitcode(status))
    return Outcome(
        code,
        found.get("value"),
        found.get("message", ""),
        said,
        time.monotonic() - began,
        max(0, usage.ru_maxrss * 1024 - held),
    )


def _resident() -> int:
    """Bytes of this process in memory: a fork shows them as its own."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _made(call: Callable[[], Any], writing: int, words: int) -> None:
    found: dict[str, Any] = {"code": 99}
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(UNBOUND)
        os.dup2(words, 1)
        os.dup2(words, 2)
        try:
            found = {"code": 0, "value": call()}
        except HeedfulError as error:
            found = {"code": error.exit_code, "message": str(error)}
        except BaseException as error:
            found = {"code": 99, "message": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(OSError, TypeError), os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(found).encode())
    finally:
        os._exit(0)
