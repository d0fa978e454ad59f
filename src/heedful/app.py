"""The ``heedful`` command and what every subcommand shares: the version, the help, the exit code."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from heedful.commandline.errors import outcome
from heedful.commandline.multi_value_options import spread
from heedful.comparison.command import compare
from heedful.compression.command_prune import prune
from heedful.compression.command_quantize_keys import quantize_keys
from heedful.evaluation.calibration.command import calibrate
from heedful.evaluation.command_doctor import doctor
from heedful.evaluation.command_heads import heads
from heedful.evaluation.command_report import report
from heedful.evaluation.command_validate import validate
from heedful.gauge.command_train import gauge
from heedful.monitoring.command import keys
from heedful.ngrams.alignment.command import align
from heedful.ngrams.counting.command import count
from heedful.ngrams.derivation.command_derive import derive
from heedful.ngrams.derivation.command_train import derived
from heedful.ngrams.explanation.command import explain
from heedful.ngrams.remedies.command import remedy
from heedful.training.command import decoder
from heedful.training.sweeps.command import PlanFirst, run, table

_EPILOG = (
    "Exit codes: 0 passed, 1 validation failed or regression found, 2 usage, 3 input rejected, 4 resource limit, "
    "5 output error, 6 internal, 130 interrupted, 143 terminated."
)

app = typer.Typer(
    name="heedful",
    help="Are your model's attention heads paying attention?",
    epilog=_EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("validate", help="Validate the attention of a model on text: nine sections, with verdicts.")(validate)
app.command("report", help="Show a stored JSON report again, or make its page and figures.")(report)
app.command("doctor", help="Say how each attention module is met, and prove it twice.")(doctor)
app.command("calibrate", help="Simulate every check: false alarms, power, and what older thresholds say.")(calibrate)
app.command("heads", help="Show the head table alone, or save it as CSV or Parquet.")(heads)
app.command("compare", help="Say what changed between two reports; exit code 1 on a regression.")(compare)
app.command("keys", help="Draw the key vectors of a training run, and say what the figures show.")(keys)
app.command("quantize-keys", help="Price keys in few bits on held-out text, beside noise of the same size.")(
    quantize_keys
)
app.command("prune", help="Price leaving out layers, heads and key dimensions, by redundancy and at random.")(prune)
app.command("count", help="Count n-grams of any text into a folder; go on after a stop with --resume.")(count)
app.command("derive", help="Compute a model's attention from counts, and say what was kept.")(derive)
app.command("align", help="Hold each head against the attention that counts predict.")(align)
app.command("explain", help="Say why derived attention is flat, sharp or elsewhere: scales, geometry, cause.")(explain)
app.command("remedy", help="Measure every remedy of derived attention, one change at a time, on one text.")(remedy)
training = typer.Typer(help="Train a reference model on your text.", no_args_is_help=True)
training.command("decoder", help="Train the reference decoder; go on after a stop with --resume.")(decoder)
training.command("gauge", help="Train the gauge transformer: beliefs, SO(3) irreps, KL attention.")(gauge)
training.command("derived", help="Train a model whose attention is derived from counts, or what it is held against.")(
    derived
)
app.add_typer(training, name="train")
sweeping = typer.Typer(
    cls=PlanFirst,
    help="Run a plan of settings and seeds: heedful sweep PLAN.yaml --out SWEEP; then heedful sweep table SWEEP.",
    no_args_is_help=True,
)
sweeping.command("run", help="Make the runs of a plan, in parallel; again, it goes on. The word run may be left out.")(
    run
)
sweeping.command("table", help="Show and save the table of a sweep, also while it goes on.")(table)
app.add_typer(sweeping, name="sweep")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Args:
        arguments: Words after the program's name; None takes those of the process.

    Raises:
        SystemExit: Always, with the exit code.
    """
    # Before torch is loaded: threads that spin while they wait make a busy machine several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = spread(sys.argv[1:] if arguments is None else arguments)
    raise SystemExit(outcome(lambda: app(words, prog_name="heedful", standalone_mode=False), debug="--debug" in words))


def _print_version(wanted: bool) -> None:
    if wanted:
        from heedful import __version__

        typer.echo(f"heedful {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _heedful(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
