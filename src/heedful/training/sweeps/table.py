"""Tidy table of a sweep: one row per run, layer, head and measure, with axes as columns."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars

from heedful.errors import HeedfulError
from heedful.reporting.write import write_atomic
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.measured import read_measured
from heedful.training.sweeps.plan import SweepPlan, Value

SCHEMA = "heedful.sweep-table/1"
SUBJECT = {"layer": polars.Int64, "head": polars.Int64, "label": polars.String, "measure": polars.String}
"""Columns that say what a number is of, beside run, axes and seed."""
_FORMULA = ("=", "+", "-", "@")


def tidy(plan: SweepPlan, folder: SweepFolder) -> tuple[polars.DataFrame, list[str]]:
    """Return all measurements of all finished runs as one tidy table, with notes.

    Args:
        plan: The plan.
        folder: Its folder.

    Returns:
        Columns ``run``, each axis, ``seed``, ``layer``, ``head``, ``label``, ``verdict``, ``measure``, ``value``,
        ``unit``, ``n``; null where undefined or where a number is of no layer or head. And one line for each run whose
        numbers cannot be read.
    """
    rows: list[dict[str, Any]] = []
    unread = []
    for run in plan.runs:
        place = folder.place(run)
        if not place.finished:
            continue
        try:
            measured, _ = read_measured(place.measures)
        except HeedfulError as error:
            unread.append(str(error))
            continue
        of_run = {"run": run.fingerprint, **{axis_column(n): v for n, v in run.axes.items()}, "seed": run.seed}
        rows += [{**of_run, **vars(one)} for one in measured]
    schema: dict[str, Any] = {"run": polars.String}
    schema |= {axis_column(name): _column_type(values) for name, values in plan.axes.items()}
    schema |= {"seed": polars.Int64, "layer": polars.Int64, "head": polars.Int64, "label": polars.String}
    schema |= {"verdict": polars.String, "measure": polars.String, "value": polars.Float64}
    schema |= {"unit": polars.String, "n": polars.Int64}
    frame = polars.DataFrame({name: [row[name] for row in rows] for name in schema}, schema=schema, strict=False)
    return frame, unread


def save_tables(folder: Path, frames: dict[str, polars.DataFrame]) -> list[Path]:
    """Write each dataframe as Parquet and CSV, atomically.

    Args:
        folder: Where.
        frames: Name to frame.

    Returns:
        What was written.

    Raises:
        OutputError: A file could not be written.
    """
    written = []
    for name, frame in frames.items():
        for suffix in (".parquet", ".csv"):
            buffer = io.BytesIO()
            if suffix == ".parquet":
                frame.write_parquet(buffer, compression="zstd", metadata={"schema": SCHEMA})
            else:
                _harmless(frame).write_csv(buffer)
            write_atomic(folder / f"{name}{suffix}", buffer.getvalue(), overwrite=True)
            written.append(folder / f"{name}{suffix}")
    return written


def axis_column(name: str) -> str:
    """Return the column name of an axis: the axis's name, with the prefix ``axis_`` if the table already has a column
    of that name.
    """
    taken = {"run", "seed", "verdict", "value", "unit", "n", "units", *SUBJECT}
    return f"axis_{name}" if name in taken or name in _INTERVAL_COLUMNS else name


_INTERVAL_COLUMNS = ("mean", "low", "high", "seeds", "against_first", "against_low", "against_high")


def _column_type(values: Sequence[Value]) -> Any:
    known = {type(value) for value in values if value is not None}
    if known <= {bool}:
        return polars.Boolean
    if known <= {int}:
        return polars.Int64
    return polars.Float64 if known <= {int, float} else polars.String


def _harmless(frame: polars.DataFrame) -> polars.DataFrame:
    """Texts that a spreadsheet would take for a formula begin with an apostrophe."""
    strings = [name for name, kind in frame.schema.items() if kind == polars.String]
    return frame.with_columns(
        polars.Series(name, [_quoted(text) for text in frame[name]], dtype=polars.String) for name in strings
    )


def _quoted(text: str | None) -> str | None:
    return f"'{text}" if text and text.startswith(_FORMULA) else text


def json_rows(frame: polars.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a dataframe as JSON-compatible dicts; NaN becomes null."""
    rows: list[dict[str, Any]] = json.loads(json.dumps(frame.fill_nan(None).to_dicts()))
    return rows
