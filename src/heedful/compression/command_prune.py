"""``heedful compress prune``: loss increase from removing attention, compared with removal in random order."""

from typing import Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import PageForms
from heedful.commandline.progress import progress_bar

Parts = Annotated[
    list[str] | None,
    typer.Option("--part", metavar="NAME", help="What to leave out: layers, heads, dimensions; all three if none."),
]
Fractions = Annotated[
    list[float] | None,
    typer.Option("--fraction", metavar="SHARE", help="Shares to leave out, one or more; .1, .25, .5 and .75 if none."),
]
Orders = Annotated[int, typer.Option("--orders", metavar="R", min=2, help="Random orders, the control.")]
EachAlone = Annotated[
    int,
    typer.Option(
        "--each-alone", metavar="N", min=0, help="Remove each layer or head alone, where there are at most N."
    ),
]


@guarded
def prune(
    model: options.Model = None,
    config: options.Config = None,
    factory: options.Factory = None,
    checkpoint: options.Checkpoint = None,
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    seq_len: options.SeqLen = 128,
    sequences: options.Sequences = 64,
    part: Parts = None,
    fraction: Fractions = None,
    orders: Orders = 19,
    each_alone: EachAlone = 64,
    device: options.Device = "auto",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    json: options.Json = None,
    html: options.Html = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Measure the loss increase from removing attention; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is required of the result.
    """
    from heedful.compression.page_pruning import pruning_page
    from heedful.compression.prune import prune as measured

    forms = PageForms(json=json, html=html, force=force)
    forms.check()
    with progress_bar() as progress:
        record = measured(
            model, sequences, text, part=part or (), fraction=fraction or (), orders=orders, each_alone=each_alone,
            tokenizer=tokenizer, config=config, factory=factory, checkpoint=checkpoint, seq_len=seq_len,
            device=device, dtype=dtype,
            seed=seed, allow_global=allow_global or (), progress=progress,
        )  # fmt: skip
    forms.deliver(record, pruning_page(record))
    return 0
