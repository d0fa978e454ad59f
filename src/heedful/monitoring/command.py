"""``heedful keys``: a tracked run or checkpoints in, figures on their key vectors out, each with a paragraph."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, tell
from heedful.commandline.progress import progress_bar

if TYPE_CHECKING:
    import polars

    from heedful.monitoring.checkpoints.reading import CheckpointReading
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
    device: options.Device = "cpu",
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
    """Show key vectors; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is judged.
    """
    forms = Forms(json=json, html=html, force=force)
    _check(forms, figures, out, force)
    if _recorded(runs):
        given = {"--config": config, "--tokenizer": tokenizer, "--text": text, "--out": out}
        _refuse(runs[0], [name for name, value in given.items() if value is not None])
        from heedful.monitoring.evolution.figures import key_report

        found = key_report(runs[0])
    else:
        from heedful.loading.documents import load_documents
        from heedful.monitoring.checkpoints.reading import CheckpointReading

        reading = CheckpointReading(
            documents=load_documents(list(text or ()) or None),  # first: it fails fast
            seq_len=seq_len,
            sequences=sequences,
            seed=seed,
            device=device,
            dtype=dtype,
            config=config,
            tokenizer=tokenizer,
            allow_globals=tuple(allow_global or ()),
        )
        found = _read(runs, reading, out, force)
    _deliver(found, forms, figures, force)
    return 0


def _check(forms: Forms, figures: Path | None, out: Path | None, force: bool) -> None:
    """Refuse what cannot be written, before anything is read."""
    from heedful.errors import UsageError
    from heedful.monitoring.page.saving import check_key_figures
    from heedful.reporting.write import check_target

    forms.check()
    if figures is not None:
        check_key_figures(figures, overwrite=force)
    if out is not None:
        if out.suffix.lower() != ".parquet":
            raise UsageError(f"--out {out}: expected a name that ends in .parquet, got {out.suffix!r}")
        check_target(out, overwrite=force)


def _recorded(runs: list[str]) -> bool:
    """Whether a table that was recorded is shown, and no checkpoint is read."""
    from heedful.monitoring.tracker.table import NAME, PARTS

    place = Path(runs[0]).expanduser()
    return len(runs) == 1 and (
        place.suffix.lower() == ".parquet" or any((place / name).exists() for name in (NAME, PARTS))
    )


def _refuse(run: str, names: list[str]) -> None:
    from heedful.errors import UsageError

    if names:
        raise UsageError(f"{run}: {names[0]} is for checkpoints, and this is a recorded table (leave it out)")


def _read(runs: list[str], reading: "CheckpointReading", out: Path | None, force: bool) -> "KeyReport":
    """Read checkpoints, save their table where asked for, and make the figures of it."""
    from heedful.monitoring.checkpoints.listing import find_checkpoints
    from heedful.monitoring.checkpoints.reading import checkpoint_table
    from heedful.monitoring.evolution.figures import report_of
    from heedful.monitoring.evolution.rows import rows_of

    checkpoints = find_checkpoints(runs)
    with progress_bar() as progress:
        table = checkpoint_table(checkpoints, reading, progress)
    subject = runs[0] if len(runs) == 1 else f"{checkpoints[0].name} to {checkpoints[-1].name}"
    found = report_of(rows_of(table, subject), subject)
    if out is not None:
        _save(table, out, force)
    return found


def _save(table: "polars.DataFrame", out: Path, force: bool) -> None:
    from heedful.monitoring.tracker.table import table_bytes
    from heedful.reporting.write import write_atomic

    write_atomic(out, table_bytes(table), overwrite=force)
    tell([out])


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
    tell(written)
