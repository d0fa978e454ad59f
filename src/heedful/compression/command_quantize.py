"""``heedful compress quantize``: the increase in loss on held-out text when keys are stored in few bits."""

from typing import Annotated, Literal

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import PageForms
from heedful.commandline.progress import progress_bar

Stage = Literal["after", "before"]

Bits = Annotated[
    list[int] | None, typer.Option("--bits", metavar="N", help="Bits of a component, one or more; 8, 4 and 3 if none.")
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="NAME", help="What shares a scale: tensor, token, channel; all three if none."),
]
Clips = Annotated[
    list[float] | None,
    typer.Option("--clip", metavar="PERCENT", help="Share of components that keep their value; 99.9 and 99 if none."),
]
RotationStage = Annotated[
    Stage, typer.Option("--rotation", metavar="NAME", help="Keys after their rotation (as cached), or before it.")
]


@guarded
def quantize(
    model: options.Model = None,
    config: options.Config = None,
    factory: options.Factory = None,
    checkpoint: options.Checkpoint = None,
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    seq_len: options.SeqLen = 128,
    sequences: options.Sequences = 64,
    bits: Bits = None,
    group: Groups = None,
    clip: Clips = None,
    rotation: RotationStage = "after",
    device: options.Device = "auto",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    json: options.Json = None,
    html: options.Html = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Measure the loss increase from keys in few bits; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is required of the result.
    """
    from heedful.compression.page_quantization import quantization_page
    from heedful.compression.quantize import quantize as measured

    forms = PageForms(json=json, html=html, force=force)
    forms.check()
    with progress_bar() as progress:
        record = measured(
            model, sequences, text, bits=bits or (), group=group or (), clip=clip or (), rotation=rotation,
            tokenizer=tokenizer, config=config, factory=factory, checkpoint=checkpoint, seq_len=seq_len,
            device=device, dtype=dtype,
            seed=seed, allow_global=allow_global or (), progress=progress,
        )  # fmt: skip
    forms.deliver(record, quantization_page(record))
    return 0
