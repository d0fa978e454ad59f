"""``heedful sweep``: run a plan; ``heedful sweep table`` shows the results.

Plans that ship with the package and can be run by name.

Display a running sweep: a bar for all runs and one per active run; plain lines without a terminal.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.commandline import options
from heedful.commandline.errors import FAILED, Terminated, guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms
from heedful.commandline.help import PlainGroup
from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.training.sweeps.folder import Standing, SweepFolder
    from heedful.training.sweeps.parallel import View
    from heedful.training.sweeps.plan import SweepPlan
    from heedful.training.sweeps.result import Result


PlanFile = Annotated[
    Path,
    typer.Argument(
        metavar="PLAN", help="A YAML file: recipe, fixed, axes, seeds; or kappa or irreps.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option(metavar="SWEEP", help="Folder of the sweep: empty, absent, or an earlier one's.")]
Only = Annotated[str | None, typer.Option(metavar="K", help="Make one run, by number or fingerprint, in this process.")]
ListCommands = Annotated[
    bool, typer.Option("--list-commands", help="Print one shell command for each run that is not finished; run none.")
]
Processes = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Runs at a time. Without it: cores over threads.")
]
Threads = Annotated[int, typer.Option(metavar="N", min=1, help="Threads of each run.")]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="PATH",
        help="Also write plan, runs and intervals as JSON; - writes them alone to standard output.",
    ),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="PATH", help="Also write the results as one self-contained page for a browser."),
]
Sweep = Annotated[Path, typer.Argument(metavar="SWEEP", help="Folder that --out named.", show_default=False)]
Measure = Annotated[list[str] | None, typer.Option(metavar="NAME", help="A measure to show, one or more.")]
Heads = Annotated[bool, typer.Option("--heads", help="Show each head instead of the mean over heads.")]


class PlanFirst(PlainGroup):
    """Command group in which ``heedful sweep plan.yaml`` means ``heedful sweep run plan.yaml``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert ``run`` if the first word is not a command."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@guarded
def run(
    plan: PlanFile,
    out: Out,
    only: Only = None,
    list_commands: ListCommands = False,
    processes: Processes = None,
    threads: Threads = 1,
    json: Json = None,
    html: Html = None,
    debug: options.Debug = False,
) -> int:
    """Run a plan; the parameters are the options of the same name.

    Returns:
        The exit code: 0 where every run is finished, 1 where one failed.
    """
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(threads)  # before torch is loaded
    from heedful.errors import UsageError
    from heedful.training.sweeps.folder import SweepFolder
    from heedful.training.sweeps.parallel import Share
    from heedful.training.sweeps.plan_file import read_plan

    if only is not None and (list_commands or processes is not None):
        raise UsageError("--only: makes one run in this process (leave --list-commands and --processes out)")
    share = Share.of_machine(processes, threads)
    plan = packaged_plan(plan)
    planned, folder = read_plan(plan), SweepFolder(out)
    wanted = None if only is None else planned.run_named(only)
    if plan.absolute() != folder.kept(planned).absolute() and (message := folder.adopt(planned)):
        typer.echo(visible(message), err=True)
    Forms(json=json, html=html).check()
    if list_commands:
        return _list(planned, folder, threads)
    if wanted is not None:
        return _one(planned, wanted, folder, threads)
    return _all(planned, folder, share, Forms(json=json, html=html))


@guarded
def table(
    sweep: Sweep,
    measure: Measure = None,
    heads: Heads = False,
    json: Json = None,
    html: Html = None,
    debug: options.Debug = False,
) -> int:
    """Show the results of a sweep so far and write its tables; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is judged.
    """
    from heedful.training.sweeps.folder import SweepFolder
    from heedful.training.sweeps.result import read_sweep

    Forms(json=json, html=html).check()
    result = read_sweep(SweepFolder(sweep))
    _deliver(result, sweep, Forms(json=json, html=html), measures=measure or [], heads=heads)
    return 0


def _list(plan: SweepPlan, folder: SweepFolder, threads: int) -> int:
    from heedful.training.sweeps.parallel import run_command

    for run in plan.runs:
        if not folder.place(run).finished:
            typer.echo(run_command(plan, run, folder, threads))
    return 0


def _one(plan: SweepPlan, wanted: Any, folder: SweepFolder, threads: int) -> int:
    _end_with_the_sweep()
    import torch

    from heedful.commandline.progress import progress_bar
    from heedful.training.sweeps.one_run import make_run

    torch.set_num_threads(threads)
    with progress_bar(os.environ.get("RANK", "0") == "0") as progress:
        made = make_run(plan, wanted, folder, progress=progress, tell=_print_line)
    _print_line(f"{'finished' if made else 'was finished already'}: run {wanted.number}, {wanted.title}")
    return 0


def _all(plan: SweepPlan, folder: SweepFolder, share: Any, forms: Forms) -> int:
    from heedful.training.sweeps.parallel import run_sweep
    from heedful.training.sweeps.result import read_sweep

    waiting = sum(not folder.place(run).finished for run in plan.runs)
    if waiting:
        thread = "thread" if share.threads == 1 else "threads"
        process = "process" if share.processes == 1 else "processes"
        earlier = f", {len(plan.runs) - waiting} finished earlier" if waiting < len(plan.runs) else ""
        _print_line(f"{len(plan.runs)} runs{earlier}; {share.processes} {process} of {share.threads} {thread}")
    try:
        with screen() as (look, ended):
            run_sweep(plan, folder, share, look=look, ended=ended)
    except (KeyboardInterrupt, Terminated) as stopped:
        done = sum(folder.place(run).finished for run in plan.runs)
        stopped.args = (f"after {done} of {len(plan.runs)} runs: run the same command again to continue",)
        raise
    result = read_sweep(folder, plan)
    _deliver(result, folder.path, forms)
    return FAILED if result.failed else 0


def _deliver(result: Result, folder: Path, forms: Forms, **options: Any) -> None:
    from heedful.reporting.json_values import document_text
    from heedful.reporting.pages.html import page_html

    lines = result.lines(**options)
    written = result.save(folder)
    written += forms.write(
        json=lambda: document_text(result.document()),
        html=lambda: page_html(result.page(**options)),
    )
    if forms.json == STANDARD_OUTPUT:
        sys.stdout.write(document_text(result.document()))
    else:
        encoding = sys.stdout.encoding or "ascii"
        typer.echo("\n".join(visible(line, encoding) for line in lines))
    for path in written:
        _print_line(f"wrote {path}")


def _end_with_the_sweep() -> None:
    """A process of a sweep leaves when the sweep does, even when that was killed: its standard input closes then."""
    from heedful.training.sweeps.parallel import FOLLOWS

    if os.environ.pop(FOLLOWS, None) is None:
        return
    stream = os.dup(0)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)

    def wait() -> None:
        while os.read(stream, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _print_line(line: str) -> None:
    typer.echo(visible(line, getattr(sys.stderr, "encoding", None) or "ascii"), err=True)


PLANS = ("irreps", "kappa")
"""Their names."""


def packaged_plan(given: Path) -> Path:
    """Return the given plan file, or the packaged plan of that name if no such file exists.

    Args:
        given: A name of ``PLANS``, or a file.
    """
    if str(given) in PLANS and not given.exists():
        return Path(str(resources.files("heedful.training.sweeps").joinpath("plans", f"{given}.yaml")))
    return given


_TITLE = 44
"""Cells of a run's title and of what it does, so that a bar and its numbers fit in 80."""


@contextmanager
def screen() -> Iterator[tuple[Callable[[View], None], Callable[[Standing], None]]]:
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

        def show(view: View) -> None:
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


def _standing_line(standing: Standing) -> str:
    why = f": {standing.detail}" if standing.detail else ""
    message = f"{standing.state}: run {standing.run.number}, {standing.run.title}{why}"
    return visible(message, sys.stderr.encoding or "ascii")


def _nothing(_view: View) -> None:
    """Where there is no terminal, a line a run is enough."""


def _line(standing: Standing) -> None:
    typer.echo(_standing_line(standing), err=True)
