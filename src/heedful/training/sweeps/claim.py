"""Claim a run before starting it, so that processes on several machines never make the same run twice.

Claims of a folder are numbered files, each created where none may stand. Whoever finds the latest one given up or gone
stale creates the next; of two that try, one succeeds. No claim of another is ever removed or written to.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heedful.errors import HeedfulError, OutputError, UsageError
from heedful.loading.regular_file import read_small
from heedful.loading.wording import escaped
from heedful.reporting.write import create_new, write_atomic

BEAT = 10.0
"""Seconds between two signs of life."""

STALE = 180.0
"""Seconds without a sign of life after which a claim is void; file systems over a network show times a minute late."""

_MOST_BYTES = 1 << 16
_NAME = re.compile(r"claim-(\d{6})")


class Held(OutputError):
    """Error raised when another process is already making the run; nothing was changed."""


class ClaimLost(HeedfulError):
    """Error raised when another process took over this run, because its process gave no sign of life for too long."""


class Claim:
    """This process's claim on a run.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lost, self._over = threading.Event(), threading.Event()

    def check(self) -> None:
        """Raise an error if another process has taken over the run.

        Raises:
            ClaimLost: Another process has taken over.
        """
        if self._lost.is_set():
            raise ClaimLost(f"{escaped(self.path.parent)}: another process took over this run and continues it")

    def _live(self, beat: float) -> None:
        number = _number(self.path)
        while not self._over.wait(beat):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                self._lost.set()
            except OSError:
                continue  # a file system that is away for a moment; the next beat tells
            if _number(_latest(self.path.parent)) > number:
                self._lost.set()

    def _release(self) -> None:
        with contextlib.suppress(OSError, OutputError):
            write_atomic(self.path, json.dumps({"released": True}), overwrite=True)


@contextmanager
def claimed(folder: Path, *, beat: float = BEAT, stale: float = STALE) -> Iterator[Claim]:
    """Return a context that claims a run's folder and renews the claim while the block runs.

    Args:
        folder: An existing folder.
        beat: Seconds between two signs of life.
        stale: Seconds without one after which another's claim is void.

    Yields:
        The claim.

    Raises:
        Held: Another process holds it.
        OutputError: The folder cannot be written.
    """
    latest = _latest(folder)
    message = _holder(latest, stale)
    path = folder / f"claim-{_number(latest) + 1:06d}"
    try:
        if message is None:
            facts = {"host": socket.gethostname(), "pid": os.getpid(), "place": _place()}
            create_new(path, json.dumps(facts))
    except FileExistsError:
        message = _holder(path, stale) or "another process"
    except OSError as error:
        raise OutputError(f"{escaped(folder)}: {error.strerror or error} (make it writable)") from error
    if message is not None:
        raise Held(f"{escaped(folder)}: this run is made by {message}, nothing was done (wait for it)")
    claim = Claim(path)
    thread = threading.Thread(target=claim._live, args=(beat,), daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        claim._over.set()
        if not claim._lost.is_set():
            claim._release()


def holder(folder: Path, stale: float = STALE) -> str | None:
    """Return which process is making a run now, as ``host, process 123``; None if nobody is.

    Args:
        folder: The folder.
        stale: Seconds without a sign of life after which a claim is void.
    """
    return _holder(_latest(folder), stale)


def _latest(folder: Path) -> Path | None:
    try:
        claims = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except FileNotFoundError:
        return None
    return max(claims, key=lambda path: path.name, default=None)


def _number(path: Path | None) -> int:
    found = _NAME.fullmatch(path.name) if path is not None else None
    return int(found[1]) if found else 0


def _holder(path: Path | None, stale: float) -> str | None:
    if path is None:
        return None
    try:
        content, written = read_small(path, _MOST_BYTES, "a claim", follow=False).decode("utf-8"), path.stat().st_mtime
    except (FileNotFoundError, UsageError):
        return None
    except (OSError, UnicodeDecodeError, HeedfulError):
        return "another process"
    try:
        facts: Any = json.loads(content)
    except ValueError:
        facts = {}  # created a moment ago, and not filled yet
    facts = facts if isinstance(facts, dict) else {}
    if facts.get("released") is True or _now(path.parent) - written > stale:
        return None
    host, pid = escaped(facts.get("host", "another process"), 60), facts.get("pid")
    if facts.get("place") == _place() and isinstance(pid, int) and not _lives(pid):
        return None
    return f"{host}, process {pid}" if isinstance(pid, int) else host


def _now(folder: Path) -> float:
    """The clock of the file system, by which claims are dated; that of this machine may differ."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _place() -> str:
    """Where a process number means something: this machine since it was started, and this space of processes."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        facts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(facts)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    with contextlib.suppress(OSError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return stat.rpartition(")")[2].split()[0] != "Z"  # a zombie has ended
    return True
