"""``heedful validate``: judge a model's attention on text, in nine sections."""

import sys
from typing import TYPE_CHECKING

from heedful.commandline import options
from heedful.commandline.errors import FAILED, guarded
from heedful.commandline.forms import STANDARD_OUTPUT, print_written
from heedful.commandline.multi_process import processes_of, ranks_of_this_run, speaks
from heedful.commandline.progress import progress_bar
from heedful.evaluation.command_report import Outputs
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.summary_lines import print_brief
from heedful.evaluation.page.terminal import print_report

if TYPE_CHECKING:
    from heedful.evaluation.result import Report


@guarded
def validate(
    model: options.Model = None,
    config: options.Config = None,
    factory: options.Factory = None,
    checkpoint: options.Checkpoint = None,
    adapter: options.Adapter = None,
    override: options.Override = None,
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    seq_len: options.SeqLen = 128,
    sequences: options.Sequences = 64,
    preset: options.PresetOption = "standard",
    null_models: options.NullModels = None,
    null: options.Null = "random",
    sequential: options.Sequential = False,
    require: options.Require = None,
    device: options.Device = "auto",
    parallel: options.Parallel = "documents",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    budget: options.Budget = None,
    json: options.Json = None,
    html: options.Html = None,
    figures: options.Figures = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    junit: options.Junit = None,
    markdown: options.Markdown = None,
    brief: options.Brief = False,
    debug: options.Debug = False,
) -> int:
    """Validate a model and print the report; the parameters are the options of the same name.

    Returns:
        The exit code: 1 where the validation failed, else 0.
    """
    from heedful.evaluation.validate import validate as judged

    processes_of(parallel)
    outputs = Outputs(json=json, html=html, figures=figures, markdown=markdown, junit=junit, force=force)
    with ranks_of_this_run(parallel) as ranks:
        if speaks(ranks):
            outputs.check()
        with progress_bar(speaks(ranks)) as progress:
            report = judged(
                model, sequences, text, tokenizer=tokenizer, config=config, factory=factory, checkpoint=checkpoint,
                adapter=adapter, override=override,
                seq_len=seq_len, preset=preset, null_models=null_models, null=null, sequential=sequential,
                require=require or (), device=device, dtype=dtype, seed=seed, budget=budget,
                allow_global=allow_global or (), progress=progress, ranks=ranks, cards=outputs.drawn,
            )  # fmt: skip
        if not speaks(ranks):
            return 0
        _deliver(report, outputs, brief)
        if ranks is not None:
            ranks.first("word")
        return FAILED if report.verdict == "FAIL" else 0


def _deliver(report: "Report", outputs: Outputs, brief: bool) -> None:
    written = outputs.write(report)
    if outputs.json == STANDARD_OUTPUT:
        sys.stdout.write(to_json(report))
    else:
        (print_brief if brief else print_report)(report)
    print_written(written)
