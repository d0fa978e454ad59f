"""``heedful validate``: a model and some text in, the nine-section report out."""

import sys
from typing import TYPE_CHECKING

from heedful.commandline import options
from heedful.commandline.errors import FAILED, guarded
from heedful.commandline.forms import STANDARD_OUTPUT, tell
from heedful.commandline.progress import progress_bar
from heedful.commandline.several_processes import processes_of, ranks_of_this_run, speaks
from heedful.evaluation.command_inputs import Inputs, read
from heedful.evaluation.command_outputs import Outputs
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.terminal import print_report

if TYPE_CHECKING:
    from heedful.distributed.ranks import Ranks
    from heedful.evaluation.result import Report
    from heedful.evaluation.settings import Settings


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
    null: options.Null = "orientation",
    sequential: options.Sequential = False,
    require: options.Require = None,
    device: options.Device = "cpu",
    parallel: options.Parallel = "documents",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    json: options.Json = None,
    html: options.Html = None,
    figures: options.Figures = None,
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
        processes=processes_of(parallel),
    )
    outputs = Outputs(json=json, html=html, figures=figures, markdown=markdown, junit=junit, force=force)
    with ranks_of_this_run(parallel) as ranks:
        if speaks(ranks):
            outputs.check()
        from heedful.evaluation.settings import Settings

        settings = Settings(
            preset=preset,
            null_models=null_models,
            null=null,
            require=tuple(require or ()),
            seed=seed,
            looks=options.LOOKS if sequential else 1,
        )
        report = _validated(inputs, settings, ranks, outputs.drawn)
        if not speaks(ranks):
            return 0
        _deliver(report, outputs)
        if ranks is not None:
            ranks.first("word")
        return FAILED if report.verdict == "FAIL" else 0


def _validated(inputs: Inputs, settings: "Settings", ranks: "Ranks | None", cards: bool) -> "Report":
    from heedful.evaluation.nine_sections import validate as judge

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
            cards=cards,
        )


def _deliver(report: "Report", outputs: Outputs) -> None:
    written = outputs.write(report)
    if outputs.json == STANDARD_OUTPUT:
        sys.stdout.write(to_json(report))
    else:
        print_report(report)
    tell(written)
