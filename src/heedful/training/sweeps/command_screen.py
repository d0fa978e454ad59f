"""Display a running sweep: a bar for all runs and one per active run; plain lines without a terminal."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.training.sweeps.folder import Standing
    from heedful.training.sweeps.parallel import View

_TITLE = 44
"""Cells of a run's title and of what it does, so that a bar and its numbers fit in 80."""


@contextmanager
def screen() -> "Iterator[tuple[Callable[[View], None], Callable[[Standing], None]]]":
    """Return a context with two callbacks that display the running sweep.

    Yields:
        A function for every show at the sweep, and one for each run that is over.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield _nothing, _line
        return
    bars = _bars()
    tasks: dict[str, Any] = {}
    with bars:
        whole = bars.add_task("", total=1)

        def show(view: "View") -> None:
            counts = {"finished": view.finished, "failed": view.failed, "elsewhere": view.elsewhere}
            message = ", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "finished")
            bars.update(whole, description=message, completed=view.finished + view.failed, total=view.runs)
            working = {run.fingerprint: (run, how_far) for run, how_far in view.working}
            for name in tasks.keys() - working.keys():
                bars.remove_task(tasks.pop(name))
            for name, (run, (done, total, what)) in working.items():
                if name not in tasks:
                    tasks[name] = bars.add_task("", total=1)
                text = _short(f"{run.title}: {what}")
                bars.update(tasks[name], description=text, completed=done, total=max(total, 1))

        yield show, lambda standing: bars.console.print(_standing_line(standing), markup=False, highlight=False)


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(file=sys.stderr, markup=False, emoji=False, highlight=False)
    text = TextColumn("{task.description}", markup=False)
    return Progress(
        text, BarColumn(bar_width=14), TextColumn("{task.completed}/{task.total}"), console=console, transient=True
    )


def _short(text: str) -> str:
    shown = visible(text, sys.stderr.encoding or "ascii")
    return shown if len(shown) <= _TITLE else shown[: _TITLE - 3] + "..."


def _standing_line(standing: "Standing") -> str:
    why = f": {standing.detail}" if standing.detail else ""
    message = f"{standing.state}: run {standing.run.number}, {standing.run.title}{why}"
    return visible(message, sys.stderr.encoding or "ascii")


def _nothing(_view: "View") -> None:
    """Where there is no terminal, a line a run is enough."""


def _line(standing: "Standing") -> None:
    typer.echo(_standing_line(standing), err=True)
