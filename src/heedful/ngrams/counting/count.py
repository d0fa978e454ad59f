"""``heedful.count``: count n-grams of text files into a folder.

Accept counts in several forms, and compare them with other counts and a text.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from heedful.errors import InputRejected, UsageError
from heedful.loading.given_text import is_text_file, tokenizer_of
from heedful.ngrams.counting.manifest import sha256_of
from heedful.ngrams.counting.reading import Counts, read_counts
from heedful.reporting.json_values import document_text
from heedful.reporting.shown_record import ShownRecord, counted

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenTokenizer
    from heedful.loading.text_corpus import TextCorpus
    from heedful.loading.token_encoder import TokenEncoder
    from heedful.ngrams.counting.manifest import Manifest


_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]

LEARNT_BPE = 1000
LONGEST = 64
SHARD_BYTES = 8 << 20
WORTH_A_WORKER = 16 << 20
"""Bytes of text that one more process must have to count: it takes half a second to start."""

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, repr=False)
class CountSummary(ShownRecord):
    """Manifest, folder and duration of a count; its JSON schema is ``heedful.count/1``.

    Attributes:
        manifest: What the counts say of themselves.
        out: Their folder.
        seconds: How long it took; None where counting was gone on with.
    """

    page_by: ClassVar[str] = "heedful.ngrams.counting.command:count_page"
    json_by: ClassVar[str] = "heedful.ngrams.counting.count:summary_json"

    manifest: Manifest
    out: Path
    seconds: float | None = None

    def one_line(self) -> str:
        """Return one line with the numbers of tokens and tables, and the folder."""
        tables = sum(bool(table.n) for table in self.manifest.tables)
        return f"{counted(self.manifest.tokens, 'token')}, {counted(tables, 'table')} in {self.out}"

    def counts(self) -> Counts:
        """Read the counts from disk and verify their checksums."""
        from heedful.ngrams.counting.reading import read_counts

        return read_counts(self.out)


def count(
    text: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    n: str | int | Iterable[int] = "1..2",
    skip: str | int | Iterable[int] = "0",
    tokenizer: GivenTokenizer = "characters",
    vocabulary: int | None = None,
    documents: str = "auto",
    engine: str = "polars",
    shard_bytes: int = SHARD_BYTES,
    resume: bool = False,
    workers: int | None = None,
    progress: Progress = lambda done, total, what: None,
) -> CountSummary:
    """Count the n-grams of text files into a folder.

    The words are those of ``heedful ngrams count``.

    Args:
        text: One text file or several; a .jsonl file holds a document on each line.
        out: Folder of the counts: empty or absent, or with ``resume`` its own.
        n: Tokens in a context: ``2``, ``[1, 2, 3]`` or ``"1..3"``.
        skip: Tokens between a context and the token after it, in the same forms.
        tokenizer: ``characters`` or ``bpe``, learnt from the text; ``seed``; a tokenizer, or its path or hub name.
        vocabulary: Tokens of a learnt tokenizer.
        documents: What makes a document of a file that is no .jsonl: ``auto``, ``line`` or ``paragraph``.
        engine: What merges the shards: ``polars``, ``daft``, or ``ray``, which counts them as well.
        shard_bytes: Bytes of text in a shard.
        resume: Whether to go on in ``out``.
        workers: Processes that tokenise and count shards; None: as many as there are processors, one for each 16 MiB
            of text. The bytes of the result do not depend on it; memory does.
        progress: Called with (done, total, what).

    Returns:
        What was counted; ``heedful.read_counts(out)`` reads the counts.

    Raises:
        UsageError: A word cannot be used, or a file is missing.
        InputRejected: A file is no plain text, or a tokenizer is malformed.
        OutputError: The folder cannot be written, or holds something else.

    Example:
        >>> import tempfile, pathlib, heedful
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("abababab" * 20)
        >>> heedful.count(folder / "a.txt", folder / "counts").manifest.tokens
        160
    """
    from heedful.ngrams.counting.counting import CountSettings
    from heedful.ngrams.counting.counting import count as count_text
    from heedful.ngrams.counting.workers import usable_processors

    paths, place = _paths(text), Path(out)
    lengths, skips = numbers(n, "--n"), numbers(skip, "--skip", least=0)
    CountSettings(n=lengths, skips=skips, engine=engine, workers=1 if workers is None else workers)  # before the text
    corpus = _corpus(paths, documents, shard_bytes, progress)
    if workers is None:
        workers = min(usable_processors(), 1 + sum(corpus.shard_bytes) // WORTH_A_WORKER)
    settings = CountSettings(n=lengths, skips=skips, engine=engine, resume=resume, workers=workers)
    encoder = _encoder(tokenizer, vocabulary, corpus, place if resume else None, progress)
    _log.info("%s counts into %s", encoder.name, place)
    start = time.perf_counter()
    found = count_text(corpus, encoder, place, settings, progress)
    return CountSummary(manifest=found, out=place, seconds=None if resume else time.perf_counter() - start)


def _paths(text: Any) -> list[Path]:
    given = [text] if isinstance(text, str | os.PathLike) else text
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise UsageError(f"text: expected paths of text files, got {type(text).__name__}")
    listed = list(given)
    wrong = [one for one in listed if not isinstance(one, str | os.PathLike)]
    if wrong:
        raise UsageError(f"text: expected paths of text files, got {type(wrong[0]).__name__}")
    return [Path(one) for one in listed]


def numbers(words: str | int | Iterable[int], flag: str, least: int = 1) -> tuple[int, ...]:
    """Parse ``3``, ``1..3`` or ``0,2,4`` to a tuple of whole numbers.

    Args:
        words: What was written, or the numbers themselves.
        flag: The option, for messages.
        least: Smallest number allowed.

    Returns:
        The numbers, ascending.

    Raises:
        UsageError: Something else was written, or there are too many.
    """
    wrong = UsageError(f"{flag} {words}: expected whole numbers from {least} up, such as {least}..3 or {least},3")
    if not isinstance(words, str | Iterable):
        words = [words]
    if not isinstance(words, str):
        words = ",".join(str(one) for one in words)
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


def summary_text(found: Manifest, seconds: float | None) -> str:
    """Return the summary as JSON text; ``seconds`` is null if the count was resumed."""
    tables = [
        {**asdict(table), "coverage": table.coverage if table.total else None,
         "density": table.density(found.vocabulary) if table.total else None}
        for table in found.tables
    ]  # fmt: skip
    speed = None if not seconds else found.tokens / seconds
    document: dict[str, Any] = {"schema": "heedful.count/1", "seconds": seconds, "tokens_per_second": speed}
    return document_text({**document, **asdict(found), "tables": tables})


def summary_json(found: CountSummary) -> str:
    """Return the summary as JSON text."""
    return summary_text(found.manifest, found.seconds)


def _corpus(text: list[Path], documents: Any, shard_bytes: int, progress: Progress) -> TextCorpus:
    from heedful.loading.text_corpus import TextCorpus

    total, done = sum(path.stat().st_size for path in text if path.is_file()) // _MIB, 0

    def read(size: int) -> None:
        nonlocal done
        done += size
        progress(done // _MIB, total, "MiB checked")

    return TextCorpus(text, documents, shard_bytes, read)


def _encoder(
    word: Any, vocabulary: int | None, corpus: TextCorpus, begun: Path | None, progress: Progress
) -> TokenEncoder:
    """The encoder that was asked for; that of a folder that is gone on with, where it was learnt."""
    from heedful.loading.token_encoder import TokenEncoder, made_bpe, made_characters, made_seed

    learnt = {"characters": vocabulary, "bpe": vocabulary or LEARNT_BPE}
    if not isinstance(word, str | os.PathLike):
        return _own_encoder(word, vocabulary)
    word = os.fspath(word)
    if word not in learnt and vocabulary is not None:
        raise UsageError(f"--vocabulary {vocabulary}: only of a learnt tokenizer (characters or bpe; leave it out)")
    if word == "seed":
        return TokenEncoder(made_seed(), word, made_here=True)
    if word not in learnt:
        from heedful.loading.loaded_model import tokenizer_place
        from heedful.loading.tokenizer_files import FILES, load_tokenizer

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
        return TokenEncoder(made_bpe(strings, vocabulary or LEARNT_BPE), name, made_here=True)
    return TokenEncoder(made_characters(strings, vocabulary), name, made_here=True)


def _own_encoder(tokenizer: Any, vocabulary: int | None) -> TokenEncoder:
    from heedful.loading.token_encoder import TokenEncoder

    if vocabulary is not None:
        raise UsageError(f"vocabulary {vocabulary}: only of a learnt tokenizer (characters or bpe; leave it out)")
    found = tokenizer_of(tokenizer)
    if found is None:
        raise UsageError("tokenizer: expected characters, bpe, seed, a tokenizer or its path, got None")
    return TokenEncoder(found, str(getattr(tokenizer, "name_or_path", "") or "yours"))


def _begun_encoder(begun: Path, name: str) -> TokenEncoder:
    from heedful.loading.token_encoder import TokenEncoder
    from heedful.loading.tokenizer_files import load_tokenizer
    from heedful.ngrams.counting.manifest import read_manifest

    before = read_manifest(begun).tokenizer
    if before != name:
        message = f"begun with tokenizer {before}, now {name}"
        raise UsageError(f"{begun}: {message} (give the same, or count into another folder)")
    found, _ = load_tokenizer(begun)
    if found is None:
        raise InputRejected(str(begun), "its tokenizer.json is gone", "count into another folder")
    return TokenEncoder(found, name)


def _strings(corpus: TextCorpus, progress: Progress) -> Iterator[str]:
    total, done = sum(corpus.shard_bytes) // _MIB, 0
    for text in corpus.strings():
        progress(done // _MIB, total, "MiB read for the tokenizer")
        done += len(text)
        yield text


if TYPE_CHECKING:
    from tokenizers import Tokenizer

    GivenCounts: TypeAlias = str | Path | Counts | CountSummary
    """The folder of counts, or what ``heedful.read_counts`` or ``heedful.count`` gave."""


def counts_of(counts: GivenCounts, tokenizer: Tokenizer | None = None) -> Counts:
    """Return counts from a folder or object, after checking that they are complete.

    Args:
        counts: Their folder, or what ``heedful.read_counts`` or ``heedful.count`` gave.
        tokenizer: A tokenizer that must be the one they were counted with.

    Raises:
        UsageError: It is neither.
        InputRejected: The folder holds no whole counts, or they are of another tokenizer.
    """
    place = getattr(counts, "out", None) or (counts.path if isinstance(counts, Counts) else counts)
    if not isinstance(place, str | os.PathLike):
        message = "expected the folder that heedful.count wrote, or what heedful.read_counts gave"
        raise UsageError(f"counts: {message}; got {type(counts).__name__}")
    if isinstance(counts, Counts) and tokenizer is None:
        return counts
    return read_counts(Path(place), tokenizer=tokenizer)


def other_counts(folder: GivenCounts | None, stored: Counts) -> Counts | None:
    """Return counts of another text, after checking that they use the same tokenizer.

    Args:
        folder: Of those counts, or they themselves; None for none.
        stored: The others.

    Raises:
        InputRejected: They share a text, or the tokenizer is another.
    """
    if folder is None:
        return None
    found = counts_of(folder, tokenizer=stored.tokenizer)
    sums = {one.sha256 for one in stored.manifest.texts}
    shared = [one.name for one in found.manifest.texts if one.sha256 in sums]
    if shared:
        message = f"its text {shared[0]} is one that {stored.path} was counted from"
        raise InputRejected(str(found.path), message, "count a text that the others did not see")
    return found


def was_counted(stored: Counts, text: Iterable[Any]) -> str:
    """Return whether text files were counted, by checksum: ``yes``, ``partly`` or ``unknown``.

    Args:
        stored: The counts.
        text: Paths; anything else is not known to have been counted.

    Returns:
        ``yes``, ``partly`` or ``unknown``.
    """
    sums = {one.sha256 for one in stored.manifest.texts}
    known = [is_text_file(path) and sha256_of(Path(path)) in sums for path in text]
    return "unknown" if not any(known) else "yes" if all(known) else "partly"


def backend(tokenizer: Any, model: str) -> Any:
    """Return a model's tokenizer as an object of the ``tokenizers`` library, the form that counts use.

    Args:
        tokenizer: A model's.
        model: The model, for messages.

    Raises:
        InputRejected: It has no such form.
    """
    found = getattr(tokenizer, "backend_tokenizer", None)
    if found is None and hasattr(tokenizer, "to_str"):
        return tokenizer
    if found is None:
        raise InputRejected(model, "its tokenizer has no tokenizer.json to compare with that of the counts", "")
    return found
