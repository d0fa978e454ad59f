"""``heedful count``: texts in, counts of n-grams on disk out; gone on with after a stop."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, tell
from heedful.commandline.progress import Progress, progress_bar
from heedful.commandline.signals import Terminated
from heedful.reporting.json_text import document_text

if TYPE_CHECKING:
    from heedful.loading.text_corpus import TextCorpus
    from heedful.loading.token_encoder import TokenEncoder
    from heedful.ngrams.counting.manifest import Manifest

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
Resume = Annotated[bool, typer.Option("--resume", help="Go on in COUNTS; shards that are whole are not counted again.")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="PATH", help="Also write the summary as JSON; - for standard output.")
]

LEARNT_BPE = 1000
LONGEST = 64
_MIB = 1 << 20


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
    shard_bytes: ShardBytes = 8 * _MIB,
    resume: Resume = False,
    json: Json = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Count and say what was counted; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.ngrams.counting.counting import CountSettings
    from heedful.ngrams.counting.page import print_counts

    forms = Forms(json=json, force=force)
    forms.check()
    settings = CountSettings(n=numbers(n, "--n"), skips=numbers(skip, "--skip", least=0), engine=engine, resume=resume)
    with progress_bar() as progress:
        corpus = _corpus(text, documents, shard_bytes, progress)
        encoder = _encoder(tokenizer, vocabulary, corpus, out if resume else None, progress)
        seconds, found = _counted(corpus, encoder, out, settings, progress)
    told = None if resume else seconds
    written = forms.write(json=lambda: summary(found, told))
    if json == STANDARD_OUTPUT:
        sys.stdout.write(summary(found, told))
    else:
        print_counts(found, told)
    tell([*written, out])
    return 0


def numbers(words: str, flag: str, least: int = 1) -> tuple[int, ...]:
    """The whole numbers of ``3``, ``1..3`` or ``0,2,4``.

    Args:
        words: What was written.
        flag: The option, for messages.
        least: Smallest number allowed.

    Returns:
        The numbers, ascending.

    Raises:
        UsageError: Something else was written, or there are too many.
    """
    from heedful.errors import UsageError

    wrong = UsageError(f"{flag} {words}: expected whole numbers from {least} up, such as {least}..3 or {least},3")
    found: set[int] = set()
    for part in words.split(","):
        ends = [end.strip() for end in part.split("..")]
        if len(ends) > 2 or not all(end.isdecimal() and len(end) < 5 for end in ends):
            raise wrong
        found |= set(range(int(ends[0]), int(ends[-1]) + 1))
    if not found or min(found) < least:
        raise wrong
    if len(found) > LONGEST:
        raise UsageError(f"{flag} {words}: {len(found):,} numbers, expected {LONGEST} at most (ask for fewer)")
    return tuple(sorted(found))


def summary(found: "Manifest", seconds: float | None) -> str:
    """What was counted, as a JSON document; ``seconds`` is null where counting was gone on with."""
    tables = [
        {**asdict(table), "coverage": table.coverage if table.total else None,
         "density": table.density(found.vocabulary) if table.total else None}
        for table in found.tables
    ]  # fmt: skip
    speed = None if not seconds else found.tokens / seconds
    document: dict[str, Any] = {"schema": "heedful.count/1", "seconds": seconds, "tokens_per_second": speed}
    return document_text({**document, **asdict(found), "tables": tables})


def _corpus(text: list[Path], documents: Any, shard_bytes: int, progress: Progress) -> "TextCorpus":
    from heedful.loading.text_corpus import TextCorpus

    total, done = sum(path.stat().st_size for path in text if path.is_file()) // _MIB, 0

    def read(size: int) -> None:
        nonlocal done
        done += size
        progress(done // _MIB, total, "MiB checked")

    return TextCorpus(text, documents, shard_bytes, read)


def _encoder(
    word: str, vocabulary: int | None, corpus: "TextCorpus", begun: Path | None, progress: Progress
) -> "TokenEncoder":
    """The encoder that was asked for; that of a folder that is gone on with, where it was learnt."""
    from heedful.errors import InputRejected, UsageError
    from heedful.loading.learnt_tokenizer import bpe_tokenizer, character_tokenizer, seed_tokenizer
    from heedful.loading.loaded_model import tokenizer_place
    from heedful.loading.token_encoder import TokenEncoder
    from heedful.loading.tokenizer_files import FILES, load_tokenizer

    learnt = {"characters": vocabulary, "bpe": vocabulary or LEARNT_BPE}
    if word not in learnt and vocabulary is not None:
        raise UsageError(f"--vocabulary {vocabulary}: only of a learnt tokenizer (characters or bpe; leave it out)")
    if word == "seed":
        return TokenEncoder(seed_tokenizer(), word, made_here=True)
    if word not in learnt:
        place = tokenizer_place(word)
        found, _ = load_tokenizer(place)
        if found is None:
            raise InputRejected(str(place), f"no {FILES} was found", "name a tokenizer, or characters, or bpe")
        return TokenEncoder(found, place.name or word)
    name = word if learnt[word] is None else f"{word} {learnt[word]}"
    if begun is not None and (begun / "counts.json").is_file():
        return _begun_encoder(begun, name)
    strings = _strings(corpus, progress)
    if word == "bpe":
        return TokenEncoder(bpe_tokenizer(strings, vocabulary or LEARNT_BPE), name, made_here=True)
    return TokenEncoder(character_tokenizer(strings, vocabulary), name, made_here=True)


def _begun_encoder(begun: Path, name: str) -> "TokenEncoder":
    from heedful.errors import InputRejected, UsageError
    from heedful.loading.token_encoder import TokenEncoder
    from heedful.loading.tokenizer_files import load_tokenizer
    from heedful.ngrams.counting.manifest import read_manifest

    before = read_manifest(begun).tokenizer
    if before != name:
        told = f"begun with tokenizer {before}, now {name}"
        raise UsageError(f"{begun}: {told} (give the same, or count into another folder)")
    found, _ = load_tokenizer(begun)
    if found is None:
        raise InputRejected(str(begun), "its tokenizer.json is gone", "count into another folder")
    return TokenEncoder(found, name)


def _strings(corpus: "TextCorpus", progress: Progress) -> Iterator[str]:
    total, done = sum(corpus.shard_bytes) // _MIB, 0
    for text in corpus.strings():
        progress(done // _MIB, total, "MiB read for the tokenizer")
        done += len(text)
        yield text


def _counted(
    corpus: "TextCorpus", encoder: "TokenEncoder", out: Path, settings: Any, progress: Progress
) -> "tuple[float, Manifest]":
    from heedful.ngrams.counting.counting import count as count_text

    start = time.perf_counter()
    try:
        found = count_text(corpus, encoder, out, settings, progress)
    except (KeyboardInterrupt, Terminated) as stopped:
        stopped.args = (f"while counting into {out}: go on with --resume",)
        raise
    return time.perf_counter() - start, found
