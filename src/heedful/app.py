"""The ``heedful`` command line: version, help and exit code."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from heedful.commandline.commands import add_commands
from heedful.commandline.errors import occupy_streams, outcome
from heedful.commandline.help import PlainGroup, hyphens, spread

_EPILOG = (
    "Exit codes: 0 passed, 1 validation failed or regression found, 2 usage, 3 input rejected, 4 resource limit, "
    "5 output error, 6 internal, 130 interrupted, 143 terminated."
)

MOVED = {
    **{name: f"ngrams {name}" for name in ("count", "derive", "explain", "align", "remedy")},
    "quantize-keys": "compress quantize",
    "prune": "compress prune",
    "calibrate": "lab calibrate",
    "train decoder": "train",
    "train gauge": "gauge train",
    "train derived": "ngrams train",
    "doctor": "check",
}
"""Commands of before, to their names now."""

app = typer.Typer(
    name="heedful",
    help="Are your model's attention heads paying attention?",
    epilog=_EPILOG,
    cls=PlainGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
add_commands(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its exit code.

    Args:
        arguments: Words after the program's name; None takes those of the process.

    Raises:
        SystemExit: Always, with the exit code.
    """
    # Before torch is loaded: threads that spin while they wait make a busy machine several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    occupy_streams()
    words = hyphens(spread(sys.argv[1:] if arguments is None else arguments))
    _refuse_moved(words)
    raise SystemExit(outcome(lambda: app(words, prog_name="heedful", standalone_mode=False), debug="--debug" in words))


def _refuse_moved(words: Sequence[str]) -> None:
    """A name of before is told its name of today."""
    before = next((one for one in (" ".join(words[:2]), " ".join(words[:1])) if one in MOVED), None)
    if before is not None:
        typer.echo(f"error: heedful: the command {before} is now: heedful {MOVED[before]}", err=True)
        raise SystemExit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        from heedful import __version__

        typer.echo(f"heedful {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _heedful(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
