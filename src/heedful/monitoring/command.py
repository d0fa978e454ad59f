"""``heedful watch``: show a page on a tracked run, in progress or ended, or on checkpoints."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written
from heedful.commandline.progress import progress_bar

if TYPE_CHECKING:
    from heedful.monitoring.page.record import WatchReport

Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN|CKPT...",
        help="A run of AttentionTracker or its table; or checkpoints: models, or one folder of step folders.",
    ),
]
Against = Annotated[Path | None, typer.Option(metavar="RUN", help="Another run to set beside this one.")]
Heads = Annotated[
    list[str] | None, typer.Option("--head", metavar="L0H3", help="A head to set beside others; give it several times.")
]
Steps = Annotated[
    list[int] | None, typer.Option("--step", metavar="N", help="A step to set beside others; give it several times.")
]
Groups = Annotated[
    str | None, typer.Option(metavar="0-3,4-18,19-21", help="Groups of layers that lines are of. Without it: thirds.")
]
Follow = Annotated[
    bool, typer.Option("--follow", help="Write the page again while the run goes on: RUN/watch.html without --html.")
]
Interval = Annotated[float, typer.Option(metavar="S", min=0.1, help="Seconds between two looks at a run in progress.")]
Page = Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Also write one HTML page.")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="PATH", help="Also write it as JSON; - for standard output alone.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Save what checkpoints showed: a table that ends in .parquet.")
]


@guarded
def watch(
    runs: Runs,
    against: Against = None,
    head: Heads = None,
    step: Steps = None,
    groups: Groups = None,
    follow: Follow = False,
    interval: Interval = 10.0,
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
    """Show the page on a run or on checkpoints; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is judged.
    """
    from heedful.monitoring.page.saving import check_key_figures
    from heedful.monitoring.watch import check_out
    from heedful.monitoring.watch import watch as watched

    if follow:
        html, force = html or Path(runs[0]) / "watch.html", force or html is None
    forms = Forms(json=json, html=html, force=force)
    forms.check()
    if figures is not None:
        check_key_figures(figures, overwrite=force)
    if out is not None:
        check_out(out, force)
    with progress_bar() as progress:
        found = watched(
            runs, against=against, head=head or (), step=step or (), groups=groups, follow=follow, interval=interval,
            shown=lambda report: _show(report, html), config=config, tokenizer=tokenizer, text=text, seq_len=seq_len,
            sequences=sequences, device=device, dtype=dtype, seed=seed, out=out, force=force,
            allow_global=allow_global or (), progress=progress,
        )  # fmt: skip
    if out is not None:
        print_written([out])
    _deliver(found, forms, figures, force or follow)
    return 0


def _show(report: "WatchReport", html: Path | None) -> None:
    """Write the page of a run in progress, in place of the one before."""
    from heedful.reporting.write import write_atomic

    if html is not None:
        write_atomic(html, report.to_html(), overwrite=True)


def _deliver(found: "WatchReport", forms: Forms, figures: Path | None, force: bool) -> None:
    from heedful.monitoring.page.saving import save_key_figures
    from heedful.monitoring.page.watch_page import watch_page
    from heedful.reporting.pages.html import print_page

    forms = replace(forms, force=force)
    written = forms.write(json=found.to_json, html=found.to_html)
    if figures is not None:
        save_key_figures(found, figures, overwrite=force)
        written.append(figures)
    if forms.json == STANDARD_OUTPUT:
        sys.stdout.write(found.to_json())
    else:
        print_page(watch_page(found))
    print_written(written)
