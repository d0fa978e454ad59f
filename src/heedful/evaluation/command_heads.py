"""``heedful heads``: measure all heads of a model and show or save the head table."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written
from heedful.commandline.multi_process import processes_of, ranks_of_this_run, speaks
from heedful.commandline.progress import progress_bar
from heedful.evaluation.head_files import check_suffix, save_heads
from heedful.evaluation.page.head_page import print_ranking
from heedful.evaluation.page.terminal import print_heads
from heedful.reporting.write import check_target

if TYPE_CHECKING:
    from heedful.evaluation.head_listing import HeadTable


@guarded
def heads(
    model: options.Model = None,
    config: options.Config = None,
    factory: options.Factory = None,
    checkpoint: options.Checkpoint = None,
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    seq_len: options.SeqLen = 128,
    sequences: options.Sequences = 64,
    device: options.Device = "auto",
    parallel: options.Parallel = "documents",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    pairs: options.Pairs = None,
    out: options.Out = None,
    json: options.JsonRows = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Measure every head and print or save the table; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.evaluation.head_listing import heads as measured

    processes_of(parallel)
    forms = Forms(json=json, force=force)
    with ranks_of_this_run(parallel) as ranks:
        if speaks(ranks):
            forms.check()
        if out is not None and speaks(ranks):
            check_suffix(out)
            check_target(out, overwrite=force)
        with progress_bar(speaks(ranks)) as progress:
            table = measured(
                model, sequences, text, tokenizer=tokenizer, config=config, factory=factory, checkpoint=checkpoint,
                seq_len=seq_len, device=device, dtype=dtype, seed=seed, allow_global=allow_global or (),
                pairs=pairs,
                progress=progress, ranks=ranks,
            )  # fmt: skip
        if speaks(ranks):
            _deliver(table, out, forms)
            if ranks is not None:
                ranks.first("word")
    return 0


def _deliver(table: "HeadTable", out: Path | None, forms: Forms) -> None:
    written = []
    if out is not None:
        save_heads(table.rows, out, overwrite=forms.force)
        written.append(out)
    written += forms.write(json=table.to_json)
    if forms.json == STANDARD_OUTPUT:
        sys.stdout.write(table.to_json())
    elif out is None:
        print_heads(table.rows)
    if table.by_pairs is not None and forms.json != STANDARD_OUTPUT:
        print_ranking(table.by_pairs)
    print_written(written)
