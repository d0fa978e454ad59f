"""``heedful ngrams align``: compare each head with the attention that counts predict."""

from pathlib import Path
from typing import Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import PageForms
from heedful.commandline.options import CountsFolder
from heedful.commandline.progress import progress_bar

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A causal model with the tokenizer of the counts.")]
Lengths = Annotated[str, typer.Option("--n", metavar="N|N..N", help="Tokens in a context, such as 1..2.")]
Skips = Annotated[str, typer.Option("--skip", metavar="S|S..S", help="Tokens between a context and the counted token.")]

HeldOutCounts = Annotated[
    Path | None,
    typer.Option(
        metavar="COUNTS", help="Counts of another text by the same tokenizer: what they do not confirm is memory."
    ),
]


@guarded
def align(
    model: Model,
    counts: CountsFolder,
    text: options.Text = None,
    held_out_counts: HeldOutCounts = None,
    n: Lengths = "1",
    skip: Skips = "0",
    seq_len: options.SeqLen = 128,
    sequences: options.Sequences = 64,
    tokenizer: options.Tokenizer = None,
    config: options.Config = None,
    device: options.Device = "auto",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    json: options.Json = None,
    html: options.Html = None,
    figures: options.Figures = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Compare attention with counts; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is required of the result.
    """
    from heedful.ngrams.alignment.align import align as measured
    from heedful.ngrams.alignment.page import FIGURES, alignment_page

    forms = PageForms(json=json, html=html, figures=figures, names=FIGURES, force=force)
    forms.check()
    with progress_bar() as progress:
        record = measured(
            model, counts, sequences, text, tokenizer=tokenizer, held_out_counts=held_out_counts, n=n, skip=skip,
            seq_len=seq_len, config=config, device=device, dtype=dtype, seed=seed, allow_global=allow_global or (),
            progress=progress,
        )  # fmt: skip
    forms.deliver(record, alignment_page(record))
    return 0
