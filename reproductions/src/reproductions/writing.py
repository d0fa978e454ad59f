"""Write tables of measurements to files."""

from __future__ import annotations

import io
from pathlib import Path

import polars

from heedful.reporting.write import write_atomic


def write_table(table: polars.DataFrame, path: Path) -> None:
    """Write a Parquet file atomically, replacing an existing one.

    Raises:
        OutputError: It could not be written.
    """
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    write_atomic(path, buffer.getvalue(), overwrite=True)
