"""``heedful keys``: a tracked run or checkpoints in, figures on their key vectors out, each with a paragraph."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heedful.cli import options
from heedful.cli.exits import guarded
from heedful.cli.forms import STANDARD_OUTPUT, Forms, tell
from heedful.cli.progress import progress_bar

if TYPE_CHECKING:
    import polars

    from heedful.report.keys import KeyReport
    from heedful.training.checkpoints import Reading

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
        from heedful.training.key_evolution import key_report

        found = key_report(runs[0])
    else:
        from heedful.loading import load_documents
        from heedful.training.checkpoints import Reading

        reading = Reading(
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
    from heedful.core.errors import UsageError
    from heedful.report import check_target
    from heedful.report.keys import check_key_figures

    forms.check()
    if figures is not None:
        check_key_figures(figures, overwrite=force)
    if out is not None:
        if out.suffix.lower() != ".parquet":
            raise UsageError(f"--out {out}: expected a name that ends in .parquet, got {out.suffix!r}")
        check_target(out, overwrite=force)


def _recorded(runs: list[str]) -> bool:
    """Whether a table that was recorded is shown, and no checkpoint is read."""
    from heedful.training.tracker.table import NAME, PARTS

    place = Path(runs[0]).expanduser()
    return len(runs) == 1 and (
        place.suffix.lower() == ".parquet" or any((place / name).exists() for name in (NAME, PARTS))
    )


def _refuse(run: str, names: list[str]) -> None:
    from heedful.core.errors import UsageError

    if names:
        raise UsageError(f"{run}: {names[0]} is for checkpoints, and this is a recorded table (leave it out)")


def _read(runs: list[str], reading: "Reading", out: Path | None, force: bool) -> "KeyReport":
    """Read checkpoints, save their table where asked for, and make the figures of it."""
    from heedful.training.checkpoints import checkpoint_table, find_checkpoints
    from heedful.training.key_evolution import report_of, rows_of

    checkpoints = find_checkpoints(runs)
    with progress_bar() as progress:
        table = checkpoint_table(checkpoints, reading, progress)
    subject = runs[0] if len(runs) == 1 else f"{checkpoints[0].name} to {checkpoints[-1].name}"
    found = report_of(rows_of(table, subject), subject)
    if out is not None:
        _save(table, out, force)
    return found


def _save(table: "polars.DataFrame", out: Path, force: bool) -> None:
    from heedful.report import write_atomic
    from heedful.training.tracker.table import table_bytes

    write_atomic(out, table_bytes(table), overwrite=force)
    tell([out])


def _deliver(found: "KeyReport", forms: Forms, figures: Path | None, force: bool) -> None:
    from heedful.report.keys import key_html, key_json, print_keys, save_key_figures

    written = forms.write(json=lambda: key_json(found), html=lambda: key_html(found))
    if figures is not None:
        save_key_figures(found, figures, overwrite=force)
        written.append(figures)
    if forms.json == STANDARD_OUTPUT:
        sys.stdout.write(key_json(found))
    else:
        print_keys(found)
    tell(written)
