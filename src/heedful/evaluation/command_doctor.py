"""``heedful doctor``: how each attention module of a model is met, and whether that is proved."""

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.several_processes import processes_of, ranks_of_this_run, speaks
from heedful.reporting.escape import visible

NOTHING_MET = 3


@guarded
def doctor(
    model: options.Model = None,
    config: options.Config = None,
    factory: options.Factory = None,
    checkpoint: options.Checkpoint = None,
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    seq_len: options.SeqLen = 128,
    device: options.Device = "auto",
    parallel: options.Parallel = "documents",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Prove the capture of a model and say so; the parameters are the options of the same name.

    Returns:
        The exit code: 0, or 3 where no attention was met.
    """
    from heedful.evaluation.doctor import doctor as proved
    from heedful.evaluation.page.proofs import proof_lines

    processes_of(parallel)
    with ranks_of_this_run(parallel) as ranks:
        found = proved(
            model, text=text, tokenizer=tokenizer, config=config, factory=factory, checkpoint=checkpoint,
            seq_len=seq_len, device=device, dtype=dtype, seed=seed, allow_global=allow_global or (), ranks=ranks,
        )  # fmt: skip
        if speaks(ranks):
            for line in proof_lines(found):
                typer.echo(visible(line))
            if ranks is not None:
                ranks.first("word")
    return 0 if found.met else NOTHING_MET
