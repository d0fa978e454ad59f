"""``heedful ngrams align``: a model, counts and text in; each head beside the attention that the counts predict out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.page_forms import PageForms
from heedful.commandline.progress import progress_bar
from heedful.evaluation.command_inputs import Inputs, read
from heedful.ngrams.counting.command import numbers

if TYPE_CHECKING:
    from heedful.ngrams.counting.reading import Counts
    from heedful.ngrams.derivation.table import NgramTable

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A causal model with the tokenizer of the counts.")]
CountsFolder = Annotated[Path, typer.Argument(metavar="COUNTS", help="Folder that heedful ngrams count wrote.")]
Lengths = Annotated[str, typer.Option("--n", metavar="N|N..N", help="Tokens in a context, such as 1..2.")]
Skips = Annotated[str, typer.Option("--skip", metavar="S|S..S", help="Tokens between a context and what it speaks of.")]

HeldOutCounts = Annotated[
    Path | None,
    typer.Option(
        metavar="COUNTS", help="Counts of another text by the same tokenizer: what they do not confirm is memory."
    ),
]


@guarded
def align(
    model: Model,
    counts: CountsFolder,
    text: options.Text = None,
    held_out_counts: HeldOutCounts = None,
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
    figures: options.Figures = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Hold attention against counts; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is required of the result.
    """
    from heedful.ngrams.alignment.count_alignment import align as measured
    from heedful.ngrams.alignment.page import FIGURES, alignment_page
    from heedful.ngrams.counting.reading import read_counts

    forms = PageForms(json=json, html=html, figures=figures, names=FIGURES, force=force)
    forms.check()
    pairs = [(length, back) for length in numbers(n, "--n") for back in numbers(skip, "--skip", least=0)]
    stored = read_counts(counts)
    tables = {pair: table_of(stored, *pair) for pair in pairs}
    other = other_counts(held_out_counts, stored)
    unseen = {} if other is None else {pair: table_of(other, *pair) for pair in pairs}
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
            loaded.model, made, tables, unseen, name=loaded.name, counts=str(counts), seed=seed, progress=progress
        )
    record = replace(
        record,
        held_out=str(held_out_counts or ""),
        counted_tokens=(stored.manifest.tokens, other.manifest.tokens if other else 0),
        text_was_counted=was_counted(stored, text or ()),
    )
    forms.deliver(record, alignment_page(record))
    return 0


def other_counts(folder: Path | None, stored: "Counts") -> "Counts | None":
    """Counts of a text that the others did not see.

    Args:
        folder: Of those counts; None for none.
        stored: The others.

    Raises:
        InputRejected: They share a text, or the tokenizer is another.
    """
    from heedful.errors import InputRejected
    from heedful.ngrams.counting.reading import read_counts

    if folder is None:
        return None
    found = read_counts(folder, tokenizer=stored.tokenizer)
    sums = {one.sha256 for one in stored.manifest.texts}
    shared = [one.name for one in found.manifest.texts if one.sha256 in sums]
    if shared:
        told = f"its text {shared[0]} is one that {stored.path} was counted from"
        raise InputRejected(str(folder), told, "count a text that the others did not see")
    return found


def was_counted(stored: "Counts", text: Sequence[Path]) -> str:
    """Whether text files are among those counted, by checksum: a part of one cannot be told.

    Args:
        stored: The counts.
        text: Paths.

    Returns:
        ``yes``, ``partly`` or ``unknown``.
    """
    from heedful.ngrams.counting.folder import sha256_of

    sums = {one.sha256 for one in stored.manifest.texts}
    known = [sha256_of(path) in sums for path in text]
    return "unknown" if not any(known) else "yes" if all(known) else "partly"


def table_of(stored: Any, n: int, skip: int) -> "NgramTable":
    """A table of stored counts as derivations read it.

    Args:
        stored: Counts.
        n: Tokens in a context.
        skip: Tokens left out.

    Raises:
        UsageError: It was not counted.
        InputRejected: Nothing was, or a file of it was cut or changed.
    """
    from heedful.ngrams.derivation.table import stored_table

    return stored_table(stored, n, skip)


def backend(tokenizer: Any, model: str) -> Any:
    """The tokenizer as the counts know it.

    Args:
        tokenizer: A model's.
        model: The model, for messages.

    Raises:
        InputRejected: It has no such form.
    """
    from heedful.errors import InputRejected

    found = getattr(tokenizer, "backend_tokenizer", None)
    if found is None:
        raise InputRejected(model, "its tokenizer has no tokenizer.json to compare with that of the counts", "")
    return found
