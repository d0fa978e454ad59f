"""``heedful ngrams derive``: compute a model's attention from counts."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written
from heedful.commandline.options import CountsFolder
from heedful.commandline.progress import progress_bar

Out = Annotated[Path, typer.Option(metavar="MODEL", help="Folder of the model: absent or empty.")]
RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="NAME", help="corrected, offset, or seed: the published one, faults and all.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe; may be given several times."),
]
Length = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=2,
        help="Most tokens of a sequence. Without it: 256, or what heads with an offset can distinguish.",
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="A trained model whose logits' spread the heads get, layer by layer and head by head."
    ),
]
Json = Annotated[Path | None, typer.Option("--json", metavar="PATH", help="Also write what was kept as JSON.")]


@guarded
def derive(
    counts: CountsFolder,
    out: Out,
    recipe: RecipeName = "corrected",
    change: Changes = None,
    text: options.Text = None,
    length: Length = None,
    reference: Reference = None,
    seed: options.Seed = 0,
    json: Json = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Derive a model and print how much of the counts its factors retain; the parameters are the options of the same
    name.

    Returns:
        The exit code, 0.
    """
    from heedful.ngrams.derivation.derive import derive as derived
    from heedful.ngrams.derivation.page import derivation_page
    from heedful.reporting.pages.html import print_page

    forms = Forms(json=json, force=force)
    forms.check()
    with progress_bar() as progress:
        found = derived(
            counts, out, recipe=recipe, change=change or (), text=text, length=length, reference=reference, seed=seed,
            progress=progress,
        )  # fmt: skip
    written = forms.write(json=found.to_json)
    if json == STANDARD_OUTPUT:
        sys.stdout.write(found.to_json())
    else:
        print_page(derivation_page(found.record))
    print_written([*written, out])
    return 0
