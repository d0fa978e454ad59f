"""``heedful align``: a model, counts and text in; each head beside the attention that the counts predict out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.cli import options
from heedful.cli.count import numbers
from heedful.cli.exits import guarded
from heedful.cli.forms import STANDARD_OUTPUT, Forms, tell
from heedful.cli.inputs import Inputs, read
from heedful.cli.progress import progress_bar

if TYPE_CHECKING:
    from heedful.derivation import Table

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A causal model with the tokenizer of the counts.")]
CountsFolder = Annotated[Path, typer.Argument(metavar="COUNTS", help="Folder that heedful count wrote.")]
Lengths = Annotated[str, typer.Option("--n", metavar="N|N..N", help="Tokens in a context, such as 1..2.")]
Skips = Annotated[str, typer.Option("--skip", metavar="S|S..S", help="Tokens between a context and what it speaks of.")]


@guarded
def align(
    model: Model,
    counts: CountsFolder,
    text: options.Text = None,
    n: Lengths = "1",
    skip: Skips = "0",
    seq_len: options.SeqLen = 128,
    sequences: options.Sequences = 64,
    tokenizer: options.Tokenizer = None,
    config: options.Config = None,
    device: options.Device = "cpu",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    json: options.Json = None,
    html: options.Html = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Hold attention against counts; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is required of the result.
    """
    from heedful.counts import read as read_counts
    from heedful.report.alignment import alignment_page
    from heedful.report.pages import page_html, print_page, record_json
    from heedful.study.count_alignment import align as measured

    forms = Forms(json=json, html=html, force=force)
    forms.check()
    pairs = [(length, back) for length in numbers(n, "--n") for back in numbers(skip, "--skip", least=0)]
    stored = read_counts(counts)
    tables = {pair: table_of(stored, *pair) for pair in pairs}
    inputs = Inputs(
        model=model,
        config=config,
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
    read_counts(counts, tokenizer=backend(loaded.tokenizer, model))
    with progress_bar() as progress:
        record = measured(
            loaded.model, made, tables, name=loaded.name, counts=str(counts), seed=seed, progress=progress
        )
    page = alignment_page(record)
    written = forms.write(json=lambda: record_json(record), html=lambda: page_html(page))
    if json == STANDARD_OUTPUT:
        sys.stdout.write(record_json(record))
    else:
        print_page(page)
    tell(written)
    return 0


def table_of(stored: Any, n: int, skip: int) -> "Table":
    """A table of stored counts as derivations read it.

    Args:
        stored: Counts.
        n: Tokens in a context.
        skip: Tokens left out.
    """
    from heedful.derivation.table import stored_table

    return stored_table(stored, n, skip)


def backend(tokenizer: Any, model: str) -> Any:
    """The tokenizer as the counts know it.

    Args:
        tokenizer: A model's.
        model: The model, for messages.

    Raises:
        InputRejected: It has no such form.
    """
    from heedful.core.errors import InputRejected

    found = getattr(tokenizer, "backend_tokenizer", None)
    if found is None:
        raise InputRejected(model, "its tokenizer has no tokenizer.json to compare with that of the counts", "")
    return found
