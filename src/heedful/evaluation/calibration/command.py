"""``heedful lab calibrate``: simulate how often the checks are wrong, and how often they detect a real effect."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import FAILED, guarded
from heedful.commandline.progress import progress_bar
from heedful.reporting.escape import visible
from heedful.reporting.json_values import document_text
from heedful.reporting.write import check_target, write_atomic

if TYPE_CHECKING:
    from heedful.evaluation.calibration.calibrate import Calibration

_STANDARD_OUTPUT = Path("-")

Repetitions = Annotated[
    int, typer.Option(metavar="N", min=2, help="Studies of each kind up to 256 tokens (fewer beyond), 8 heads each.")
]
Lengths = Annotated[
    str | None, typer.Option(metavar="N,N", help="Tokens of a document, comma-separated. Without it: 16 to 2048.")
]
Claims = Annotated[
    list[str] | None, typer.Option(metavar="CLAIM", help="Claims to calibrate, one or more. Without it: all.")
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="PATH", help="Also write the rates as JSON; - writes them alone to standard output."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]


@guarded
def calibrate(
    repetitions: Repetitions = 4,
    lengths: Lengths = None,
    claims: Claims = None,
    seed: options.Seed = 0,
    json: Json = None,
    force: Force = False,
    debug: options.Debug = False,
) -> int:
    """Run the simulations and print the error rates; the parameters are the options of the same name.

    Returns:
        The exit code: 1 where a rate breaks its promise, else 0.
    """
    if json is not None and json != _STANDARD_OUTPUT:
        check_target(json, overwrite=force)
    chosen = _lengths(lengths)
    from heedful.evaluation.calibration.calibrate import CalibrationPlan
    from heedful.evaluation.calibration.calibrate import calibrate as simulate

    plan = CalibrationPlan(repetitions=repetitions, seed=seed, claims=tuple(claims or ()), **chosen)
    with progress_bar() as progress:
        found = simulate(plan, progress)
    _deliver(found, json, force)
    return FAILED if found.broken else 0


def _lengths(text: str | None) -> dict[str, tuple[int, ...]]:
    from heedful.errors import UsageError

    if text is None:
        return {}
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 7 for part in parts):
        raise UsageError(f"--lengths {text}: expected whole numbers with commas between them, such as 16,64,256")
    return {"lengths": tuple(sorted({int(part) for part in parts}))}


def _deliver(found: "Calibration", json: Path | None, force: bool) -> None:
    from heedful.evaluation.calibration.table import lines, to_document

    text = document_text(to_document(found)) if json is not None else ""
    if json == _STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    if json is not None:
        write_atomic(json, text, overwrite=force)
    for line in lines(found):
        typer.echo(visible(line))
    if json is not None:
        typer.echo(f"wrote {visible(json)}", err=True)
