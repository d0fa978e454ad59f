"""``heedful validate``: a model and some text in, the nine-section report out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from heedful.cli import options
from heedful.cli.exits import FAILED, guarded
from heedful.cli.forms import Forms
from heedful.cli.inputs import Inputs, read
from heedful.cli.progress import progress_bar
from heedful.cli.several_processes import ranks_of_this_run, speaks
from heedful.report import check_target, is_report, print_report, to_json, write_atomic
from heedful.report.escape import visible

if TYPE_CHECKING:
    from heedful.checks import Settings
    from heedful.core import Report
    from heedful.study.ranks import Ranks

_STANDARD_OUTPUT = Path("-")


@guarded
def validate(
    model: options.Model = None,
    config: options.Config = None,
    factory: options.Factory = None,
    checkpoint: options.Checkpoint = None,
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    seq_len: options.SeqLen = 128,
    sequences: options.Sequences = 64,
    preset: options.PresetOption = "standard",
    null_models: options.NullModels = None,
    sequential: options.Sequential = False,
    require: options.Require = None,
    device: options.Device = "cpu",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    json: options.Json = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    junit: options.Junit = None,
    markdown: options.Markdown = None,
    debug: options.Debug = False,
) -> int:
    """Validate a model and print the report; the parameters are the options of the same name.

    Returns:
        The exit code: 1 where the validation failed, else 0.
    """
    inputs = Inputs(
        model=model,
        config=config,
        factory=factory,
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        text=text or (),
        seq_len=seq_len,
        sequences=sequences,
        device=device,
        dtype=dtype,
        seed=seed,
        allow_globals=allow_global or (),
    )
    with ranks_of_this_run() as ranks:
        if json is not None and json != _STANDARD_OUTPUT and speaks(ranks):
            check_target(json, overwrite=force or is_report(json))
        from heedful.checks import Settings

        forms = Forms(json=json, junit=junit, markdown=markdown, force=force)
        if speaks(ranks):
            forms.check()

        settings = Settings(
            preset=preset,
            null_models=null_models,
            require=tuple(require or ()),
            seed=seed,
            looks=options.LOOKS if sequential else 1,
        )
        report = _validated(inputs, settings, ranks)
        if not speaks(ranks):
            return 0
        _deliver(report, json, force)
        if ranks is not None:
            ranks.first("word")
        forms.write_report(report)
        return FAILED if report.verdict == "FAIL" else 0


def _validated(inputs: Inputs, settings: "Settings", ranks: "Ranks | None") -> "Report":
    from heedful.checks import validate as judge

    loaded, sequences = read(inputs)
    with progress_bar(speaks(ranks)) as progress:
        return judge(
            loaded.model,
            sequences,
            settings=settings,
            name=loaded.name,
            notes=loaded.notes,
            progress=progress,
            ranks=ranks,
            build=loaded.build,
        )


def _deliver(report: "Report", json: Path | None, force: bool) -> None:
    if json == _STANDARD_OUTPUT:
        sys.stdout.write(to_json(report))
        return
    if json is not None:
        write_atomic(json, to_json(report), overwrite=force or is_report(json))
    print_report(report)
    if json is not None:
        typer.echo(f"wrote {visible(json)}", err=True)
