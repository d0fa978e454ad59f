"""Merge shards into whole tables by grouped sums, in context ranges if a table is large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars

from heedful.errors import InputRejected
from heedful.ngrams.counting.folder import place_of, put
from heedful.ngrams.counting.grouped_sum import GroupedSum
from heedful.ngrams.counting.manifest import CountFile, TableFacts
from heedful.ngrams.counting.shard import ShardRecord, Spec, file_name, table_file

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
