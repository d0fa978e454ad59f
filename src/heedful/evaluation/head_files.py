"""Convert the head table to a dataframe, or save it as CSV or Parquet, chosen by the file's suffix."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heedful.reporting.escape import encoded, visible
from heedful.reporting.write import write_atomic

if TYPE_CHECKING:
    import polars

    from heedful.evaluation.result import HeadRow

SUFFIXES = (".csv", ".parquet")
_FORMULA = ("=", "+", "-", "@")


def head_frame(heads: Sequence[HeadRow]) -> polars.DataFrame:
    """Return a dataframe with one row per head: layer, module, head, label, verdict, pattern, every statistic, reason.

    Args:
        heads: Rows of the head table.

    Returns:
        A dataframe; NaN where a statistic is undefined, null where a head has no such statistic.
    """
    import polars

    names = sorted({name for row in heads for name in row.statistics})
    schema: dict[str, polars.DataType] = {"layer": polars.Int64(), "module": polars.String(), "head": polars.Int64()}
    schema |= dict.fromkeys(("label", "verdict", "pattern"), polars.String())
    schema |= dict.fromkeys(names, polars.Float64()) | {"reason": polars.String()}
    return polars.DataFrame([_cells(row, names) for row in heads], schema=schema, orient="row")


def save_heads(heads: Sequence[HeadRow], path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Save the head table to CSV or Parquet, in one atomic write.

    Parquet holds every string as it is. CSV holds them visible, and a text that a spreadsheet would take for a formula
    begins with an apostrophe.

    Args:
        heads: Rows of the head table.
        path: A path that ends in one of ``SUFFIXES``.
        overwrite: Whether a file that stands there may be replaced.

    Raises:
        UsageError: The suffix is none of these.
        OutputError: The file could not be written.
    """
    write_atomic(path, head_bytes(heads, check_suffix(path)), overwrite=overwrite)


def head_bytes(heads: Sequence[HeadRow], suffix: str) -> bytes:
    """Return the head table encoded as CSV or Parquet bytes.

    Args:
        heads: Rows of the head table.
        suffix: One of ``SUFFIXES``.
    """
    frame, file = head_frame(heads), io.BytesIO()
    if suffix == ".csv":
        _visible_strings(frame).write_csv(file)
    else:
        frame.write_parquet(file)
    return file.getvalue()


def check_suffix(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a head table's path in lower case, or raise an error if it is not supported.

    Args:
        path: Where the table shall be written.

    Returns:
        ``.csv`` or ``.parquet``.

    Raises:
        UsageError: The suffix is neither.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        from heedful.errors import UsageError

        raise UsageError(f"{os.fspath(path)}: expected a name that ends in {' or '.join(SUFFIXES)}, got {suffix!r}")
    return suffix


def _cells(row: HeadRow, names: Sequence[str]) -> tuple[object, ...]:
    statistics = [None if name not in row.statistics else float(row.statistics[name]) for name in names]
    label, verdict, pattern, reason = map(encoded, (row.label, row.verdict, row.pattern, row.reason))
    return (row.layer, encoded(row.module), row.head, label, verdict, pattern, *statistics, reason)


def _visible_strings(frame: polars.DataFrame) -> polars.DataFrame:
    import polars

    strings = [name for name, kind in frame.schema.items() if kind == polars.String()]
    return frame.with_columns(
        polars.Series(name, [_harmless(text) for text in frame[name]], dtype=polars.String()) for name in strings
    )


def _harmless(text: str) -> str:
    shown = visible(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
