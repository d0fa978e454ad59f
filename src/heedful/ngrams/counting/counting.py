"""Count text in shards to a folder, then merge each table; an interruption loses at most the shards being counted.

Merge shards into whole tables by grouped sums, in context ranges if a table is large.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars

from heedful.errors import InputRejected, OutputError, UsageError
from heedful.loading.corpus import Corpus, Encoder
from heedful.ngrams.counting.manifest import (
    MANIFEST,
    SHARDS,
    CountFile,
    Manifest,
    TableFacts,
    as_output_error,
    place_of,
    put,
    read_manifest,
)
from heedful.ngrams.counting.packing import check_fits
from heedful.ngrams.counting.reading import read_counts
from heedful.ngrams.counting.shard import (
    RAY,
    GroupedSum,
    ShardRecord,
    Spec,
    engine_named,
    file_name,
    read_shard,
    specs,
    table_file,
)
from heedful.ngrams.counting.workers import ShardJob, counted_records, ray_records
from heedful.reporting.write import move_in, open_log, private_folder, refuse_links, remove_stale

Progress = Callable[[int, int, str], None]
"""Called with what is done, what there is to do, and what is being done."""

UNKNOWN_SHARE = 0.1
TOO_UNKNOWN = 0.5
"""Beyond it, what is counted is no longer the text."""

_MIB = 1 << 20
_LOCK = ".lock"
_FEW = 8


@dataclass(frozen=True, kw_only=True)
class CountSettings:
    """What to count, and how to merge the shards.

    Attributes:
        n: Lengths of contexts, each from 1 up.
        skips: Tokens between a context and the token that is counted after it, each from 0 up.
        engine: What merges: a key of ``heedful.ngrams.counting.shard.ENGINES``; ``ray`` counts the shards too.
        resume: Whether to go on in a folder where counting was begun.
        workers: Processes that count shards; corpus and encoder are pickled for more than one.
    """

    n: tuple[int, ...] = (1,)
    skips: tuple[int, ...] = (0,)
    engine: str = "polars"
    resume: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        for name, flag, least in (("n", "--n", 1), ("skips", "--skip", 0)):
            values = getattr(self, name)
            if not values or any(isinstance(one, bool) or one < least for one in values):
                raise UsageError(f"{flag} {','.join(map(str, values))}: expected whole numbers from {least} up")
            object.__setattr__(self, name, tuple(sorted(set(values))))
        if isinstance(self.workers, bool) or self.workers < 1:
            raise UsageError(f"--workers {self.workers}: expected a whole number from 1 up")


def count(
    corpus: Corpus,
    encoder: Encoder,
    out: Path,
    settings: CountSettings | None = None,
    progress: Progress = lambda _done, _total, _what: None,
) -> Manifest:
    r"""Count all (context, next token) pairs of a corpus, :math:`C^{n,s}` of ``ngrams.counting.packing``.

    Documents are never joined. Memory is bounded by the size of a shard and the number of workers, not by that of the
    text; the bytes of the result do not depend on workers or engine. Shards that are
    whole are never counted again: after a stop, ``resume`` goes on with the next and ends with the same bytes.

    Args:
        corpus: The text.
        encoder: The tokenizer.
        out: The folder of counts: absent or empty, or with ``resume`` one where the same counting was begun.
        settings: What is counted.
        progress: Called before and after each shard and table.

    Returns:
        The manifest, which stands in the folder as ``counts.json``.

    Raises:
        UsageError: Settings cannot be used, or are not those that the folder was begun with.
        InputRejected: A text has changed, most of its tokens are unknown to the tokenizer, or a finished count has
            files that were cut or changed.
        OutputError: The folder is not empty, another process counts into it, or it cannot be written.
    """
    wanted = settings or CountSettings()
    engine = engine_named(wanted.engine)
    check_fits(max(wanted.n), encoder.size)
    begun = _begun(corpus, encoder, wanted)
    standing = _claimed(out, begun, encoder, wanted.resume)
    if standing is not None and standing.complete:
        read_counts(out).verify()  # a file that was cut or changed since is no reason to call the counts whole
        return standing
    with _alone(out):
        try:
            shards = _count_shards(corpus, encoder, out, wanted, progress)
        except InputRejected:
            if standing is None:  # of no use to anyone, and in the way of the next try
                _emptied(out)
            raise
        tables: list[TableFacts] = []
        known = specs(wanted.n, wanted.skips)
        for spec in known:
            progress(len(tables), len(known), f"merging n = {spec[0]}, skip {spec[1]}")
            tables.append(merge_table(out, shards, spec, engine))
        whole = _whole(begun, shards, tables)
        whole.write(out)
        shutil.rmtree(out / SHARDS, ignore_errors=True)
    return whole


def _begun(corpus: Corpus, encoder: Encoder, settings: CountSettings) -> Manifest:
    return Manifest(
        complete=False,
        tokenizer=encoder.name,
        fingerprint=encoder.fingerprint,
        vocabulary=encoder.size,
        documents_are=corpus.documents,
        texts=tuple(corpus.files),
        n=settings.n,
        skips=settings.skips,
        shard_bytes=tuple(corpus.shard_bytes),
        notes=tuple(corpus.notes),
    )


def _claimed(out: Path, begun: Manifest, encoder: Encoder, resume: bool) -> Manifest | None:
    """The folder made ready; the manifest that stands there where counting goes on."""
    if resume and (out / MANIFEST).is_file():
        refuse_links(out)
        standing = read_manifest(out)
        check_same(out, standing, begun)
        return standing
    with as_output_error(out):
        if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
            fix = "give --resume to go on" if (out / MANIFEST).is_file() else "name another folder"
            raise OutputError(f"{out}: not an empty folder, nothing was changed ({fix})")
        out.mkdir(parents=True, exist_ok=True)
        with private_folder(out) as made:
            encoder.save(made)
            for file in sorted(made.iterdir()):
                move_in(file, out)
    begun.write(out)
    return None


def check_same(out: Path, standing: Manifest, now: Manifest) -> None:
    """Raise an error if the counts in a folder were made from other texts, with another tokenizer or with other
    settings.

    Args:
        out: The folder.
        standing: Its manifest.
        now: What would be counted now.

    Raises:
        InputRejected: A text has changed.
        UsageError: The settings differ.
    """
    for before, after in zip(standing.texts, now.texts, strict=False):
        if before != after:
            message = f"is not the text that {out} was begun with ({before.name}, {before.bytes:,} bytes)"
            raise InputRejected(after.name, message, "give the same text, or count into another folder")
    words = {"texts": "texts", "fingerprint": "tokenizer", "documents_are": "documents"}
    for name, word in {**words, "n": "n", "skips": "skip", "shard_bytes": "shards of bytes"}.items():
        was, is_now = getattr(standing, name), getattr(now, name)
        if was != is_now:
            message = f"begun with {word} {_brief(was)}, now {_brief(is_now)}"
            raise UsageError(f"{out}: {message} (give the same, or count into another folder)")


def _brief(value: object) -> str:
    """A value in a message: few numbers as they are, of much else how many, of a fingerprint its first digits."""
    if not isinstance(value, tuple):
        return str(value)[:12]
    if len(value) <= _FEW and all(isinstance(one, int) for one in value):
        return ",".join(map(str, value))
    return f"({len(value)} of them)"


def _emptied(out: Path) -> None:
    """Remove what stands in a folder that was empty before."""
    for path in out.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _count_shards(
    corpus: Corpus, encoder: Encoder, out: Path, settings: CountSettings, progress: Progress
) -> list[ShardRecord]:
    wanted = tuple(specs(settings.n, settings.skips))
    job = ShardJob(corpus, encoder, out.absolute(), wanted, max(settings.n) + max(settings.skips))
    sizes = corpus.shard_bytes
    total, done = sum(sizes) // _MIB, 0
    progress(done, total, "MiB counted")
    standing = {number: record for number in range(len(sizes)) if (record := read_shard(out, number)) is not None}
    missing = [number for number in range(len(sizes)) if number not in standing]
    records: list[ShardRecord] = []
    try:
        with _counted(job, missing, settings) as made:
            for number, size in enumerate(sizes):
                records.append(standing[number] if number in standing else next(made))
                done += size
                progress(done // _MIB, total, "MiB counted")
                if number == 0 or number == len(sizes) - 1:
                    _check_known(records)
    finally:
        remove_stale(out / SHARDS)  # of workers that were stopped
    if not any(one.tokens for one in records):
        raise InputRejected("text", "the tokenizer makes no token of it", "give text in its language")
    return records


def _counted(
    job: ShardJob, missing: Sequence[int], settings: CountSettings
) -> AbstractContextManager[Iterator[ShardRecord]]:
    if settings.engine == RAY:
        return nullcontext(ray_records(job, missing))
    return counted_records(job, missing, settings.workers)


def _check_known(records: list[ShardRecord]) -> None:
    tokens = sum(one.tokens for one in records)
    share = sum(one.unknown for one in records) / max(1, tokens)
    if share > TOO_UNKNOWN:
        fix = "give text in its language, or another --tokenizer"
        raise InputRejected("text", f"{share:.0%} of its tokens are unknown to the tokenizer", fix)


def _whole(begun: Manifest, shards: list[ShardRecord], tables: list[TableFacts]) -> Manifest:
    tokens, unknown = sum(one.tokens for one in shards), sum(one.unknown for one in shards)
    notes = list(begun.notes)
    if unknown > UNKNOWN_SHARE * tokens:
        notes.append(f"{unknown / tokens:.0%} of the tokens are unknown to the tokenizer: is it the right one?")
    for table in tables:
        if not table.total:
            needed = table.n + table.skip + 1
            notes.append(f"n = {table.n}, skip {table.skip}: no document has {needed} tokens, so nothing was counted")
    return Manifest(
        **{
            **{name: getattr(begun, name) for name in begun.__dataclass_fields__},
            "complete": True,
            "documents": sum(one.documents for one in shards),
            "tokens": tokens,
            "unknown": unknown,
            "tables": tuple(tables),
            "notes": tuple(notes),
        }
    )


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold a lock on the folder, which the system gives back however this process ends."""
    try:
        import fcntl
    except ImportError:  # a system without file locks
        yield
        return
    with as_output_error(out), open_log(out / _LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{out}: another process counts into it (wait, or name another folder)") from error
        remove_stale(out)
        remove_stale(out / SHARDS)
        yield
        (out / _LOCK).unlink(missing_ok=True)


RANGE_ROWS = 1 << 21
"""Rows of shards that are summed at once: what bounds the memory of a merge."""

_STEP = 1 << 10
_LARGEST = (1 << 63) - 1


def merge_table(out: Path, shards: Sequence[ShardRecord], spec: Spec, engine: GroupedSum) -> TableFacts:
    """Sum one table over all shards and write it.

    Args:
        out: The folder of counts.
        shards: Records of all shards, in their order.
        spec: The table.
        engine: What sums.

    Returns:
        What the table holds. Its files, one a range of contexts, are ascending from one to the next.

    Raises:
        InputRejected: The sum is not that of the shards.
        OutputError: It could not be written.
    """
    name = file_name(spec)
    held = [(number, one) for number, record in enumerate(shards) for one in record.files if one.name == name]
    paths = [place_of(out, number) / name for number, one in held if one.rows]
    expected = sum(record.totals[name] for record in shards)
    files: list[CountFile] = []
    total = contexts = once = 0
    for number, (first, last) in enumerate(ranges(paths, sum(one.rows for _, one in held))):
        frame = engine(paths, first, last)
        facts, content = table_file(f"{name.removesuffix('.parquet')}.{number:04d}.parquet", frame)
        put(out / facts.name, content)
        files.append(facts)
        total += int(frame["count"].sum())
        contexts += frame["context"].n_unique()
        once += int((frame["count"] == 1).sum())
    if total != expected:
        raise InputRejected(str(out), f"{name}: shards hold {expected:,} counts, their sum {total:,}", "count anew")
    rows = sum(one.rows for one in files)
    return TableFacts(
        n=spec[0], skip=spec[1], total=total, contexts=contexts, pairs=rows, once=once, files=tuple(files)
    )


def ranges(paths: Sequence[Path], rows: int) -> Iterator[tuple[int, int]]:
    """Yield consecutive ranges ``(first, last)`` of packed contexts, about ``RANGE_ROWS`` rows each, that cover the
    whole table.

    A context is never divided: one that alone has more rows makes a longer range.

    Args:
        paths: Files of one table, each ascending.
        rows: Rows of all of them.

    Yields:
        The ranges, ascending; none where there is no row.
    """
    if not rows:
        return
    first = 0
    if rows > RANGE_ROWS:
        samples = [polars.scan_parquet(path).select("context").gather_every(_STEP).collect() for path in paths]
        known = np.sort(polars.concat(samples)["context"].to_numpy())
        for bound in np.unique(known[:: max(1, RANGE_ROWS // _STEP)])[1:]:
            if bound > first:
                yield first, int(bound) - 1
                first = int(bound)
    yield first, _LARGEST
