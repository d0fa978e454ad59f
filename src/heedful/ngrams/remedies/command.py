"""``heedful ngrams remedy``: measure every remedy for derived attention on one text."""

from pathlib import Path
from typing import Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import PageForms
from heedful.commandline.options import CountsFolder
from heedful.commandline.progress import progress_bar

Unseen = Annotated[
    Path | None,
    typer.Option("--held-out-counts", metavar="COUNTS", help="Counts of other text, by the same tokenizer."),
]
Seeds = Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Seeds of embeddings and positions.")]
Variants = Annotated[
    list[str] | None,
    typer.Option(
        "--variants",
        metavar="NAME",
        help="Variants or groups of them, with those they change; without it: all.",
    ),
]
Rungs = Annotated[list[str] | None, typer.Option("--rungs", metavar="NAME", hidden=True)]
Length = Annotated[int, typer.Option(metavar="N", min=3, max=128, help="Tokens of a piece: rows are held whole.")]
Sequences = Annotated[int, typer.Option(metavar="N", min=4, help="Pieces of text to measure.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="width or head_dim of the derived models.")
]
Reference = Annotated[
    str | None, typer.Option(metavar="MODEL", help="A trained model whose logit spread one variant copies.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="A model with the tokenizer of the counts, whose heads are measured too; repeat the option for "
        "several. Runs of heedful ngrams train that differ in their seeds alone are averaged.",
    ),
]


@guarded
def remedy(
    counts: CountsFolder,
    text: options.Text = None,
    held_out_counts: Unseen = None,
    seeds: Seeds = 3,
    variants: Variants = None,
    rungs: Rungs = None,
    length: Length = 32,
    sequences: Sequences = 100,
    change: Changes = None,
    reference: Reference = None,
    model: Models = None,
    seed: options.Seed = 0,
    json: options.Json = None,
    html: options.Html = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Measure all remedies; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.ngrams.remedies.page import remedy_page
    from heedful.ngrams.remedies.remedy import remedy as measured

    forms = PageForms(json=json, html=html, force=force)
    forms.check()
    named = [*(variants or ()), *(rungs or ())]
    with progress_bar() as progress:
        record = measured(
            counts, text, held_out_counts=held_out_counts, seeds=seeds, variants=named, length=length,
            sequences=sequences, change=change or (), reference=reference, model=model or (), seed=seed,
            progress=progress,
        )  # fmt: skip
    forms.deliver(record, remedy_page(record))
    return 0
