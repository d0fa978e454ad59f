"""Merge shards by one grouped sum, the same query for each dataframe engine.

``polars`` runs it in this process, streaming. ``daft`` runs it on its local engine, and on a Ray cluster where
``DAFT_RUNNER=ray`` (or ``daft.set_runner_ray``) says so; nothing here changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars

from heedful.errors import UsageError

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


ENGINES: dict[str, GroupedSum] = {"polars": polars_sum, "daft": daft_sum}
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
    return ENGINES[name]


def _ensure_daft() -> None:
    if find_spec("daft") is None:
        raise UsageError("--engine daft: daft is not installed (pip install 'heedful[cluster]')")
