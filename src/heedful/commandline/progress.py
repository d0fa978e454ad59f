"""Show progress on standard error during long runs: a bar in a terminal, one line per phase in a log."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Progress = Callable[[int, int, str], None]
PATIENCE = 2.0
"""Seconds of work before a bar appears."""


@contextmanager
def progress_bar(shown: bool = True, stream: TextIO | None = None, patience: float = PATIENCE) -> Iterator[Progress]:
    """Return a context with a callback ``progress(done, total, what)`` that draws a bar or logs one line per phase.

    The bar is wiped away at the end. ``HEEDFUL_PROGRESS=off`` in the environment turns both off.

    Args:
        shown: Whether this process draws at all; one of several does.
        stream: Where to draw; standard error where not given.
        patience: Seconds of work before anything appears.

    Yields:
        The callback.
    """
    out = stream or sys.stderr
    if not shown or out is None or os.environ.get("HEEDFUL_PROGRESS", "").lower() == "off":
        yield _nothing
        return
    if not out.isatty() or os.environ.get("TERM") == "dumb":
        yield _Log(out, patience)
        return
    bar = _Bar(out, time.monotonic() + patience)
    try:
        yield bar
    finally:
        bar.stop()


def words_of(seconds: float) -> str:
    """Format a duration given in seconds as whole seconds, minutes or hours, for example ``3 min``.

    Example:
        >>> words_of(44.6), words_of(190), words_of(7300)
        ('45 s', '3 min', '2 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _nothing(_done: int, _total: int, _what: str) -> None:
    """The callback where no bar is drawn."""


class _Log:
    """A line at the beginning of each phase: seconds since the start, what begins, in how many steps, what is left."""

    def __init__(self, stream: TextIO, patience: float) -> None:
        self.stream, self.patience = stream, patience
        self.start = time.monotonic()
        self.shown: set[str] = set()
        self.words = ""

    def time_left(self, seconds: float, words: str) -> None:
        """A line before the work starts: how long it will take, if that is long."""
        if seconds >= self.patience:
            self.stream.write(f"about {words_of(seconds)}: {words}\n")
            self.stream.flush()

    def left(self, seconds: float) -> None:
        """How long the work will take from now on; the line of the phase that begins says so."""
        self.words = f", about {words_of(seconds)} left"

    def __call__(self, done: int, total: int, what: str) -> None:
        seconds = time.monotonic() - self.start
        if what in self.shown or seconds < self.patience:
            return
        self.shown.add(what)
        steps = f" ({total} {'step' if total == 1 else 'steps'})" if total else ""
        text = visible(what, getattr(self.stream, "encoding", None) or "ascii")
        self.stream.write(f"{seconds:6.0f} s  {text}{steps}{self.words}\n")
        self.stream.flush()


class _Bar:
    def __init__(self, stream: TextIO, begins: float) -> None:
        self.stream, self.begins = stream, begins
        self.drawn: Any = None
        self.task: Any = None
        self.words = ""
        self.patience = max(begins - time.monotonic(), 0.0)

    def time_left(self, seconds: float, words: str) -> None:
        """As in a log."""
        if seconds >= self.patience:
            self.stream.write(f"about {words_of(seconds)}: {words}\n")
            self.stream.flush()

    def left(self, seconds: float) -> None:
        """As in a log."""
        self.words = f", about {words_of(seconds)} left"

    def __call__(self, done: int, total: int, what: str) -> None:
        if self.drawn is None:
            if time.monotonic() < self.begins:
                return
            self.drawn = self._made()
            self.task = self.drawn.add_task("", total=1)
        text = visible(what, self.stream.encoding or "ascii") + self.words
        self.drawn.update(self.task, completed=done, total=max(total, 1), description=text)
        self.drawn.start()

    def stop(self) -> None:
        if self.drawn is not None:
            self.drawn.stop()

    def _made(self) -> "RichProgress":
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        console = Console(file=self.stream, markup=False, emoji=False, highlight=False)
        description = TextColumn("{task.description}", markup=False)
        columns = (
            description,
            BarColumn(bar_width=30),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
        )
        return RichProgress(*columns, console=console, transient=True)
