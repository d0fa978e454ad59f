"""What arrives at a terminal: a pseudo-terminal that is read while it is written to."""

from __future__ import annotations

import contextlib
import os
import pty
import threading
from collections.abc import Callable
from typing import TextIO


def shown(write: Callable[[TextIO], None]) -> str:
    """The text that ``write`` sends to a terminal, escapes included."""
    ours, theirs = pty.openpty()
    chunks: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # a terminal that nobody writes to any more is an error to read
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with open(theirs, "w", encoding="utf-8") as stream:
            write(stream)
    finally:
        reader.join(timeout=30)
        os.close(ours)
    return b"".join(chunks).decode().replace("\r\n", "\n")
