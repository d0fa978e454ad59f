"""``heedful ngrams count``: count n-grams of texts into a folder; a stopped count can be resumed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written
from heedful.commandline.progress import progress_bar
from heedful.commandline.signals import Terminated

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
    str, typer.Option(metavar="NAME", help="What merges the shards: polars, or daft, locally or on a Ray cluster.")
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
    from heedful.ngrams.counting.page import print_counts

    forms = Forms(json=json, force=force)
    forms.check()
    try:
        with progress_bar() as progress:
            found = counted(
                text, out, n=n, skip=skip, tokenizer=tokenizer, vocabulary=vocabulary, documents=documents,
                engine=engine, shard_bytes=shard_bytes, resume=resume, progress=progress,
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
