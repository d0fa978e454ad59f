"""``heedful ngrams count``: count n-grams of texts into a folder; a stopped count can be resumed.

Page on what was counted: text, tokenizer, and one row per table.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from heedful.commandline import options
from heedful.commandline.errors import Terminated, guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written
from heedful.commandline.progress import progress_bar
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.paragraph import BLANK, Line, Sheet, aligned, line, paragraph, plain, sheet

if TYPE_CHECKING:
    from heedful.ngrams.counting.count import CountSummary
    from heedful.ngrams.counting.manifest import Manifest, TableFacts


if TYPE_CHECKING:
    pass

Text = Annotated[
    list[Path],
    typer.Argument(metavar="TEXT...", help="Text files; a .jsonl file holds a document on each line."),
]
Out = Annotated[Path, typer.Option(metavar="COUNTS", help="Folder: empty or absent, or with --resume its own.")]
Lengths = Annotated[str, typer.Option("--n", metavar="N|N..N", help="Tokens in a context, such as 1..3 or 1,3.")]
Skips = Annotated[
    str, typer.Option("--skip", metavar="S|S..S", help="Tokens between a context and the token after it, as in 0..3.")
]
Tokenizer = Annotated[
    str,
    typer.Option(
        metavar="NAME|PATH",
        help="characters and bpe are learnt from the text; seed: 85 fixed characters; or a folder, tokenizer.json, "
        "vocab.txt or a hub name.",
    ),
]
Vocabulary = Annotated[
    int | None, typer.Option(metavar="N", min=2, help="Tokens of a learnt tokenizer (bpe: 1000 without it).")
]
Documents = Annotated[
    Literal["auto", "line", "paragraph"],
    typer.Option(
        metavar="RULE", help="A document is: auto, a file; line, a line; paragraph, what empty lines enclose."
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What merges the shards: polars; daft, locally or on a Ray cluster; or ray, which counts them there too.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Processes that tokenise and count.", show_default="one a processor"),
]
ShardBytes = Annotated[
    int, typer.Option(metavar="N", min=1, help="Bytes of text in a shard: bounds memory, and what a stop may lose.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume in COUNTS; complete shards are not counted again.")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="PATH", help="Also write the summary as JSON; - for standard output.")
]


@guarded
def count(
    text: Text,
    out: Out,
    n: Lengths = "1..2",
    skip: Skips = "0",
    tokenizer: Tokenizer = "characters",
    vocabulary: Vocabulary = None,
    documents: Documents = "auto",
    engine: Engine = "polars",
    workers: Workers = None,
    shard_bytes: ShardBytes = 8 << 20,
    resume: Resume = False,
    json: Json = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Count n-grams and print a summary; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.ngrams.counting.count import count as counted

    forms = Forms(json=json, force=force)
    forms.check()
    try:
        with progress_bar() as progress:
            found = counted(
                text, out, n=n, skip=skip, tokenizer=tokenizer, vocabulary=vocabulary, documents=documents,
                engine=engine, shard_bytes=shard_bytes, resume=resume, workers=workers, progress=progress,
            )  # fmt: skip
    except (KeyboardInterrupt, Terminated) as stopped:
        stopped.args = (f"while counting into {out}: resume with --resume",)
        raise
    written = forms.write(json=found.to_json)
    if json == STANDARD_OUTPUT:
        sys.stdout.write(found.to_json())
    else:
        print_counts(found.manifest, found.seconds)
    print_written([*written, out])
    return 0


TITLE = "COUNTS OF N-GRAMS"
LEGEND = (
    "positions: what was counted; contexts, pairs: how many distinct ones; once: share of the pairs that stood once; "
    "coverage: estimated chance that the next pair of such a text is among these (Good 1953); density: share of "
    "entries that are not 0, in rows of observed contexts."
)
_COLUMNS = (("n", 2), ("skip", 5), ("positions", 13), ("contexts", 12), ("pairs", 12), ("once", 8), ("coverage", 9))
_LAST = ("density", 9)
_NAMED = 3
_DIGITS = 12


def count_lines(found: Manifest, page: Sheet, seconds: float | None = None) -> list[Line]:
    """Return the whole page as styled lines.

    Args:
        found: What was counted.
        page: What to write on.
        seconds: How long it took; None where it is not known.

    Returns:
        Lines of styled segments.
    """
    rule = line("=" * page.width)
    lines = [rule, line(TITLE, "bold"), rule]
    for word, text in _facts(found, seconds):
        lines += paragraph(page.text(text), page.width, indent=" " * 12, first=aligned(word, 12))
    lines += [BLANK, line(_row([name for name, _ in (*_COLUMNS, _LAST)]), "bold")]
    lines += [line(_row(_cells(table, found.vocabulary))) for table in found.tables if table.n]
    lines += [BLANK, *paragraph(LEGEND, page.width, style="dim")]
    for note in found.notes:
        lines += paragraph(page.text(f"note: {note}"), page.width)
    return [*lines, rule]


def count_page(found: CountSummary) -> Page:
    """Build the page for HTML and JSON.

    Args:
        found: What was counted.
    """
    facts = "; ".join(f"{word}: {text}" for word, text in _facts(found.manifest, found.seconds))
    rows = [tuple(_cells(table, found.manifest.vocabulary)) for table in found.manifest.tables if table.n]
    return Page(
        title="Counts of n-grams",
        subject=facts,
        parts=[
            PagePart(title="Tables", header=tuple(name for name, _ in (*_COLUMNS, _LAST)), rows=rows, text=LEGEND),
            *(PagePart(title="Note", text=note) for note in found.manifest.notes),
        ],
    )


def count_text(found: Manifest, seconds: float | None = None, *, columns: int = 80, encoding: str = "utf-8") -> str:
    """Return the page as plain text that ``encoding`` can represent."""
    return plain(count_lines(found, sheet(columns, encoding), seconds))


def print_counts(found: Manifest, seconds: float | None = None, stream: TextIO | None = None) -> None:
    """Print the page, in colour if the stream is a terminal that supports it."""
    import sys

    from heedful.reporting.paragraph import print_lines, stream_sheet

    out = stream or sys.stdout
    print_lines(count_lines(found, stream_sheet(out), seconds), out)


def _facts(found: Manifest, seconds: float | None) -> list[tuple[str, str]]:
    names = [text.name for text in found.texts]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    size = sum(text.bytes for text in found.texts)
    seen = next((table.pairs for table in found.tables if not table.n), 0)
    facts = [
        ("text", f"{', '.join(names[:_NAMED])}{more}: {size:,} bytes, {_many(found.documents, 'document')}"),
        ("tokenizer", f"{found.tokenizer}: {found.vocabulary:,} tokens, fingerprint {found.fingerprint[:_DIGITS]}"),
        ("tokens", f"{found.tokens:,}; {seen:,} of the {found.vocabulary:,} seen; {found.unknown:,} unknown"),
    ]
    if seconds:
        facts.append(("speed", f"{found.tokens / seconds:,.0f} tokens a second, {seconds:.1f} s"))
    return facts


def _many(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _cells(table: TableFacts, vocabulary: int) -> list[str]:
    whole = [f"{value:,}" for value in (table.n, table.skip, table.total, table.contexts, table.pairs)]
    once = table.once / table.pairs if table.pairs else math.nan
    return [*whole, *(_share(value) for value in (once, table.coverage, table.density(vocabulary)))]


def _share(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f} %" if value >= 0.01 or not value else f"{100 * value:.2g} %"


def _row(texts: list[str]) -> str:
    return "".join(aligned(text, width, right=True) for text, (_, width) in zip(texts, (*_COLUMNS, _LAST), strict=True))
