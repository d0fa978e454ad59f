"""``heedful keys``: figures and paragraphs on the key vectors of a tracked run or of checkpoints."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written
from heedful.commandline.progress import progress_bar

if TYPE_CHECKING:
    from heedful.monitoring.page.record import KeyReport

Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN|CKPT...",
        help="A run of AttentionTracker or its table; or checkpoints: models, or one folder of step folders.",
    ),
]
Page = Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Also write one HTML page.")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="PATH", help="Also write it as JSON; - for standard output alone.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Save what checkpoints showed: a table that ends in .parquet.")
]


@guarded
def keys(
    runs: Runs,
    config: options.Config = None,
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    seq_len: options.SeqLen = 128,
    sequences: options.Sequences = 32,
    device: options.Device = "auto",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    out: Out = None,
    json: Json = None,
    html: Page = None,
    figures: options.Figures = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Show figures on key vectors; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is judged.
    """
    from heedful.monitoring.keys import check_out
    from heedful.monitoring.keys import keys as drawn
    from heedful.monitoring.page.saving import check_key_figures

    forms = Forms(json=json, html=html, force=force)
    forms.check()
    if figures is not None:
        check_key_figures(figures, overwrite=force)
    if out is not None:
        check_out(out, force)
    with progress_bar() as progress:
        found = drawn(
            runs, config=config, tokenizer=tokenizer, text=text, seq_len=seq_len, sequences=sequences, device=device,
            dtype=dtype, seed=seed, out=out, force=force, allow_global=allow_global or (), progress=progress,
        )  # fmt: skip
    if out is not None:
        print_written([out])
    _deliver(found, forms, figures, force)
    return 0


def _deliver(found: "KeyReport", forms: Forms, figures: Path | None, force: bool) -> None:
    from heedful.monitoring.page.document import key_json
    from heedful.monitoring.page.lines import print_keys
    from heedful.monitoring.page.page import key_html
    from heedful.monitoring.page.saving import save_key_figures

    written = forms.write(json=lambda: key_json(found), html=lambda: key_html(found))
    if figures is not None:
        save_key_figures(found, figures, overwrite=force)
        written.append(figures)
    if forms.json == STANDARD_OUTPUT:
        sys.stdout.write(key_json(found))
    else:
        print_keys(found)
    print_written(written)
