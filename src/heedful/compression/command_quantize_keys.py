"""``heedful compress quantize``: a model and held-out text in, the price of keys in few bits out."""

from typing import Annotated, Literal

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.page_forms import PageForms
from heedful.commandline.progress import progress_bar
from heedful.evaluation.command_inputs import Inputs, read

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
def quantize_keys(
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
    device: options.Device = "cpu",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    json: options.Json = None,
    html: options.Html = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Measure what keys in few bits cost; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is required of the result.
    """
    from heedful.compression.page_quantization import quantization_page
    from heedful.compression.quantize_keys import BITS, CLIPS, GROUPS, standard_quantizers
    from heedful.compression.quantize_keys import quantize_keys as measured

    forms = PageForms(json=json, html=html, force=force)
    forms.check()
    quantizers = standard_quantizers(tuple(bits or BITS), tuple(group or GROUPS), tuple(clip or CLIPS))
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
    loaded, made = read(inputs)
    with progress_bar() as progress:
        record = measured(
            loaded.model,
            made,
            quantizers=quantizers,
            stage=rotation,
            seed=seed,
            name=loaded.name,
            notes=loaded.notes,
            progress=progress,
        )
    forms.deliver(record, quantization_page(record))
    return 0
