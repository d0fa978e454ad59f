"""Count one shard: its tables as Parquet files, and a record of them.

Merge shards by one grouped sum, the same query for each dataframe engine.

``polars`` runs it in this process, streaming. ``daft`` runs it on its local engine, and on a Ray cluster where
``DAFT_RUNNER=ray`` (or ``daft.set_runner_ray``) says so; nothing here changes. ``ray`` runs polars in a task of a Ray
cluster, which counts the shards as well (``heedful.ngrams.counting.workers``).
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import polars

from heedful.errors import InputRejected, ResourceLimit, UsageError
from heedful.loading.corpus import TokenPiece
from heedful.loading.parquet_pages import parquet_outline
from heedful.loading.regular_file import parse_json, read_small
from heedful.ngrams.counting.manifest import CountFile, checked_bytes, place_of, shard_folder
from heedful.ngrams.counting.packing import Pairs, Tokens, count_pairs
from heedful.reporting.write import write_atomic

RECORD = "shard.json"
_RECORD_BYTES = 1 << 22

PAGE_BYTES = 24
"""Most bytes of a value in the pages of a column: a dictionary and the places in it."""

ROW_GROUP = 1 << 18
"""Rows of a Parquet row group: what a range of contexts is read in."""

Compression = Literal["zstd", "lz4"]
"""``zstd`` for what stays, ``lz4`` for shards, which are read once."""

Spec = tuple[int, int]
"""Length of contexts, and skip."""

TOKENS_ALONE: Spec = (0, 0)
"""The table that counts every token, which comes with all others."""


@dataclass(frozen=True)
class ShardRecord:
    """Files and totals of one counted shard.

    Attributes:
        documents: Documents that begin in it and hold a token.
        tokens: Its tokens.
        unknown: Tokens of it that the vocabulary lacks.
        totals: Positions counted in each table, by the name of its file.
        files: Its tables.
    """

    documents: int
    tokens: int
    unknown: int
    totals: dict[str, int]
    files: tuple[CountFile, ...]


def specs(n: Iterable[int], skips: Iterable[int]) -> list[Spec]:
    """Return the (n, skip) pairs of all tables to count: first ``(0, 0)``, the table of single tokens, then all
    combinations.
    """
    known = tuple(skips)
    return [TOKENS_ALONE, *((length, skip) for length in n for skip in known)]


def file_name(spec: Spec) -> str:
    """Return the name of a table's file in a shard."""
    return f"n{spec[0]}.s{spec[1]}.parquet"


def count_shard(
    out: Path, number: int, pieces: Iterator[TokenPiece], wanted: Iterable[Spec], vocabulary: int, unknown: int | None
) -> ShardRecord:
    """Count one shard and move it to its final folder.

    Args:
        out: The folder of counts.
        number: The shard.
        pieces: Its tokens.
        wanted: The tables.
        vocabulary: Number of token ids.
        unknown: The id of what the vocabulary lacks.

    Returns:
        Its record.

    Raises:
        InputRejected: A token id is not below ``vocabulary``.
        OutputError: It could not be written.
    """
    known = list(pieces)
    tokens = Tokens.of(known)
    if len(tokens.ids) and (largest := int(tokens.ids.max())) >= vocabulary:
        raise InputRejected("tokenizer", f"it gives token id {largest:,}, its vocabulary has {vocabulary:,}")
    own = tokens.past >= 0
    totals: dict[str, int] = {}
    files = []
    with shard_folder(out, number) as folder:
        for spec in wanted:
            pairs = count_pairs(tokens, *spec, vocabulary)
            name = file_name(spec)
            totals[name] = int(pairs.count.sum())
            facts, content = table_file(name, frame_of(pairs), "lz4")
            write_atomic(folder / name, content, overwrite=False)
            files.append(facts)
        record = ShardRecord(
            documents=sum(piece.opens for piece in known if len(piece.ids)),
            tokens=int(own.sum()),
            unknown=int((tokens.ids[own] == unknown).sum()) if unknown is not None else 0,
            totals=totals,
            files=tuple(files),
        )
        write_atomic(folder / RECORD, json.dumps(asdict(record)), overwrite=False)
    return record


def frame_of(pairs: Pairs) -> polars.DataFrame:
    """Return pairs as a dataframe."""
    columns = {"context": pairs.context, "next": pairs.next, "count": pairs.count}
    return polars.DataFrame(columns, schema=COLUMNS)


def table_file(name: str, frame: polars.DataFrame, compression: Compression = "zstd") -> tuple[CountFile, bytes]:
    """Encode a table of pairs as Parquet, with the facts about the file."""
    buffer = io.BytesIO()
    # One chunk and fixed row groups, so that equal tables are equal bytes, whatever made them.
    frame.rechunk().write_parquet(buffer, compression=compression, statistics=True, row_group_size=ROW_GROUP)
    content = buffer.getvalue()
    return CountFile(name, len(frame), len(content), hashlib.sha256(content).hexdigest()), content


def read_shard(out: Path, number: int) -> ShardRecord | None:
    """Read the record of a counted shard and verify its files; None if it is missing or damaged.

    Args:
        out: The folder of counts.
        number: The shard.

    Returns:
        The record; None where the shard must be counted: it is missing, or damaged.
    """
    folder = place_of(out, number)
    try:
        tree = parse_json(read_small(folder / RECORD, _RECORD_BYTES, "the record of a shard", follow=False), RECORD)
        files = tuple(CountFile(**one) for one in tree.pop("files"))
        record = ShardRecord(**tree, files=files)
        for one in files:
            if one.name != Path(one.name).name:
                return None
            content = checked_bytes(folder / one.name, one.bytes, one.sha256)
            if parquet_outline(content, one.name, row_bytes=PAGE_BYTES).rows != one.rows:
                return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InputRejected, ResourceLimit, UsageError):
        return None
    return record


SENTENCE = (
    "SELECT context, next, SUM(count) AS count FROM shards WHERE context BETWEEN {first} AND {last} "
    "GROUP BY context, next ORDER BY context, next"
)
"""What a merge is."""

COLUMNS = {"context": polars.Int64, "next": polars.UInt32, "count": polars.Int64}
"""Columns of every table, ascending in the first two."""

_QUIET = {"DAFT_ANALYTICS_ENABLED": "0", "DAFT_PROGRESS_BAR": "0"}
"""Without these daft calls home when it is imported, and draws over the command's own progress bar."""

GroupedSum = Callable[[Sequence[Path], int, int], polars.DataFrame]


def polars_sum(shards: Sequence[Path], first: int, last: int) -> polars.DataFrame:
    """Sum shards with polars, in this process.

    Args:
        shards: Parquet files with the columns of `COLUMNS`.
        first: Smallest packed context that is wanted.
        last: Largest packed context that is wanted.

    Returns:
        One row per pair.
    """
    with polars.SQLContext(shards=polars.scan_parquet(list(shards))) as context:
        query = context.execute(SENTENCE.format(first=first, last=last), eager=False)
        return query.collect(engine="streaming").cast(COLUMNS)  # type: ignore[arg-type]


def daft_sum(shards: Sequence[Path], first: int, last: int) -> polars.DataFrame:
    """Sum shards with daft, locally or on a cluster.

    Args:
        shards: Parquet files with the columns of `COLUMNS`; on a cluster, where all its machines see them.
        first: Smallest packed context that is wanted.
        last: Largest packed context that is wanted.

    Returns:
        One row per pair.

    Raises:
        UsageError: daft is not installed.
    """
    _ensure_daft()
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import daft

    frame: Any = daft.sql(
        SENTENCE.format(first=first, last=last), shards=daft.read_parquet([str(path) for path in shards])
    )
    return polars.DataFrame(polars.from_arrow(frame.to_arrow())).cast(COLUMNS)  # type: ignore[arg-type]


ONE_THREAD = {
    "POLARS_MAX_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Environment of a worker: the processes share the cores, threads of each would only wait for each other."""

RAY = "ray"
"""The engine that counts the shards too."""


def ray_sum(shards: Sequence[Path], first: int, last: int) -> polars.DataFrame:
    """Sum shards with polars, in a task of a Ray cluster.

    Args:
        shards: Parquet files with the columns of `COLUMNS`, where all machines of the cluster see them.
        first: Smallest packed context that is wanted.
        last: Largest packed context that is wanted.

    Returns:
        One row per pair.

    Raises:
        UsageError: Ray is not installed.
    """
    ray = started_ray()
    found: polars.DataFrame = ray.get(ray.remote(polars_sum).remote([path.absolute() for path in shards], first, last))
    return found


def started_ray() -> Any:
    """Return the ``ray`` module, connected to the cluster of ``RAY_ADDRESS``, or to one of this machine.

    Raises:
        UsageError: Ray is not installed.
    """
    _ensure_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if not ray.is_initialized():
        ray.init(
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False,
            runtime_env={"env_vars": dict(ONE_THREAD)},
        )
    return ray


ENGINES: dict[str, GroupedSum] = {"polars": polars_sum, "daft": daft_sum, RAY: ray_sum}
"""Name to the function that merges."""


def engine_named(name: str) -> GroupedSum:
    """Return the summing function of an engine.

    Raises:
        UsageError: No engine has this name, or it is not installed.
    """
    if name not in ENGINES:
        raise UsageError(f"--engine {name}: expected one of {', '.join(ENGINES)}")
    if name == "daft":
        _ensure_daft()
    if name == RAY:
        _ensure_ray()
    return ENGINES[name]


def _ensure_ray() -> None:
    if find_spec("ray") is None:
        raise UsageError("--engine ray: Ray is not installed (pip install ray)")


def _ensure_daft() -> None:
    if find_spec("daft") is None:
        raise UsageError("--engine daft: daft is not installed (pip install 'heedful[cluster]')")
