"""``heedful keys``: the table of a training run in, figures on its key vectors out, each with a paragraph."""

from pathlib import Path
from typing import Annotated

import typer

from heedful.cli import options
from heedful.cli.exits import guarded
from heedful.cli.forms import Forms, tell

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of attention.parquet, as AttentionTracker wrote it.")]
Page = Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Also write one HTML page.")]


@guarded
def keys(
    run: Run,
    html: Page = None,
    figures: options.Figures = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Show the key vectors of a run; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is judged.
    """
    from heedful.report.keys import check_key_figures, key_html, print_keys, save_key_figures
    from heedful.training.key_evolution import key_report

    forms = Forms(html=html, force=force)
    forms.check()
    if figures is not None:
        check_key_figures(figures, overwrite=force)
    found = key_report(run)
    written = forms.write(html=lambda: key_html(found))
    if figures is not None:
        save_key_figures(found, figures, overwrite=force)
        written.append(figures)
    print_keys(found)
    tell(written)
    return 0
