"""Tidy table of a sweep: one row per run, layer, head and measure, with axes as columns.

Summarise each cell of a sweep over seeds: mean, interval, paired difference from the first cell.

Compare the held-out loss of cells over documents, paired by document.
"""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars
from numpy.typing import NDArray

from heedful.errors import HeedfulError, InputRejected
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import AT_LEAST_0, FEWEST_FOR_CLAIM, SHARE, UNBOUNDED, mean_interval
from heedful.loading.regular_file import read_small
from heedful.loading.wording import escaped
from heedful.reporting.write import write_atomic
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.plan import SweepPlan, Value
from heedful.training.sweeps.recipe import read_measured

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


"""Seeds from which on the interval is the bootstrap's; fewer get Student's t."""

ALL_HEADS = "all heads"
"""Label of a mean over the heads of a run."""

_BOUNDS = ("low", "high")
RANGES = dict.fromkeys(("mass", "share"), SHARE) | dict.fromkeys(("s", "MiB", "bit/byte"), AT_LEAST_0)
"""What a mean of each unit can be; units that are not named have no bounds."""
Matrix = NDArray[np.float64]


def over_seeds(plan: SweepPlan, table: polars.DataFrame) -> polars.DataFrame:
    r"""Return mean and 95 % interval over seeds for every cell, layer, head and measure.

    .. math:: \bar x \pm t_{.975,\,S-1}\, s/\sqrt S

    over the :math:`S` seeds with a defined value, never beyond what the unit allows (a mass lies between 0 and 1); from
    16 seeds on with an allowance for skew (``mean_interval``). Beside it the same of the differences from the plan's
    first cell, paired by seed: what weights, split and order do to both goes away.

    Reading: the unit is the seed. A measure of heads has a row for the mean over the heads of each run too, labelled
    ``all heads``.
    Pitfall: intervals of many cells are not corrected for how many they are.

    Args:
        plan: The plan.
        table: Its tidy table.

    Returns:
        Axes, ``layer``, ``head``, ``label``, ``measure``, ``unit``, ``mean``, ``low``, ``high``, ``seeds``,
        ``against_first``, ``against_low``, ``against_high``; null where undefined, as bounds of a single seed are.
    """
    axes = [axis_column(name) for name in plan.axes]
    keys = [*axes, *SUBJECT, "unit"]
    whole = polars.concat([table, _mean_over_heads(table, axes)], how="diagonal")
    if not len(whole):
        return polars.DataFrame(schema={**whole.select(keys).schema, **_numbers()})
    wide = whole.pivot(on="seed", index=keys, values="value", aggregate_function="first", maintain_order=True)
    seeds = [name for name in wide.columns if name not in keys]
    values = wide.select(seeds).to_numpy().astype(float)
    interval = _interval(values, _ranges(wide["unit"].to_list()))
    against = _interval(values - _first_cell(plan, wide, axes, values))
    counts = np.asarray((~np.isnan(values)).sum(1), dtype=np.int64)
    return (
        wide.select(keys)
        .with_columns(
            polars.Series("mean", np.asarray(interval.estimate)),
            *(polars.Series(name, getattr(interval, name)) for name in _BOUNDS),
            polars.Series("seeds", counts),
            polars.Series("against_first", np.asarray(against.estimate)),
            *(polars.Series(f"against_{name}", getattr(against, name)) for name in _BOUNDS),
        )
        .with_columns(polars.col(polars.Float64).fill_nan(None))
    )


def _numbers() -> dict[str, Any]:
    names = ("mean", "low", "high", "seeds", "against_first", "against_low", "against_high")
    return dict.fromkeys(names, polars.Float64) | {"seeds": polars.Int64}


def _mean_over_heads(table: polars.DataFrame, axes: list[str]) -> polars.DataFrame:
    """A row a run and measure of heads: its mean over the heads where it is defined."""
    by = ["run", *axes, "seed", "measure", "unit"]
    heads = table.filter(polars.col("head").is_not_null())
    return heads.group_by(by, maintain_order=True).agg(polars.col("value").mean(), label=polars.lit(ALL_HEADS))


def _first_cell(plan: SweepPlan, wide: polars.DataFrame, axes: list[str], values: Matrix) -> Matrix:
    """For each row the values of the first cell's row of the same layer, head and measure; NaN where it has none."""
    cells = wide.select(axes).rows() if axes else [()] * len(wide)
    whole = (wide["label"] == ALL_HEADS).to_list()
    rows = list(zip(*(wide[name].to_list() for name in ("layer", "head", "measure")), whole, strict=True))
    is_first = [cell == tuple(choices[0] for choices in plan.axes.values()) for cell in cells]
    first = {row: place for place, row in enumerate(rows) if is_first[place]}
    padded = np.concatenate([values, np.full((1, values.shape[1]), np.nan)])
    return np.asarray(padded[[-1 if of_it else first.get(row, -1) for of_it, row in zip(is_first, rows, strict=True)]])


def _interval(values: Matrix, within: tuple[Matrix, Matrix] | tuple[float, float] = UNBOUNDED) -> Interval:
    """Of values ``(row, seed)``, an interval a row."""
    return mean_interval(values.T, within=within, runs=True)


def _ranges(units: list[str | None]) -> tuple[Matrix, Matrix]:
    """Least and largest value that a mean of each unit can have."""
    ends = np.array([RANGES.get(unit or "", UNBOUNDED) for unit in units], dtype=float).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


TRAINED, DOCUMENTS = "trained", "held_out_documents.jsonl"
FEWEST = FEWEST_FOR_CLAIM
"""Documents under which no interval is given."""

_MOST_BYTES = 256 << 20
_NUMBERS = ("mean", "low", "high", "against_first", "against_low", "against_high")
_NONE = (None, None, None)
Losses = dict[tuple[int, str], float]


def over_documents(
    plan: SweepPlan, folder: SweepFolder, against: Mapping[str, Value] | None = None
) -> polars.DataFrame:
    """Return mean and 95 % interval over documents of each cell's loss, and of its difference from another cell.

    A document's loss is per token of it, so every document weighs the same. What two cells differ by on one document
    is taken within a seed, which held out the same documents for both, and averaged over the seeds that held it out.
    Reading: intervals are over documents, for these seeds; ``over_seeds`` has those over seeds.

    Args:
        plan: The plan.
        folder: Its folder.
        against: Axes of the cell that others are compared with; None for the plan's first.

    Returns:
        Axes, ``documents``, ``mean``, ``low``, ``high``, ``against_first``, ``against_low``, ``against_high``; a row a
        cell with a finished run that kept losses by document. Bounds are null under 16 documents.
    """
    cells: dict[tuple[Value, ...], Losses] = defaultdict(dict)
    for run in plan.runs:
        file = folder.place(run).path / TRAINED / DOCUMENTS
        if folder.place(run).finished and file.is_file():
            own = cells[tuple(run.axes.values())]
            own |= {(run.seed, name): loss for name, loss in _losses(file).items()}
    chosen = against or {name: values[0] for name, values in plan.axes.items()}
    first = cells.get(tuple(chosen[name] for name in plan.axes), {})
    rows = []
    for cell, losses in cells.items():
        mean = _document_interval(losses)
        apart = _document_interval({key: losses[key] - first[key] for key in losses.keys() & first})
        words: dict[str, Any] = {axis_column(name): value for name, value in zip(plan.axes, cell, strict=True)}
        words["documents"] = len({name for _, name in losses})
        rows.append(words | dict(zip(_NUMBERS, (*mean, *(apart if losses is not first else _NONE)), strict=True)))
    return polars.DataFrame(rows, schema_overrides=dict.fromkeys(_NUMBERS, polars.Float64))


def _losses(file: Path) -> dict[str, float]:
    """Loss of each document of a run; one without a loss is left out."""
    content = read_small(file, _MOST_BYTES, "losses of documents", follow=False)
    try:
        rows = [json.loads(line, parse_constant=_no_constant) for line in content.decode("utf-8").splitlines()]
        return {str(row["id"]): float(row["loss"]) for row in rows if row["loss"] is not None}
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        message = f"expected lines of id and loss: {type(error).__name__}"
        raise InputRejected(escaped(file), message, "move it away; the run is then measured again") from error


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _document_interval(losses: Losses) -> tuple[float | None, float | None, float | None]:
    by_document: dict[str, list[float]] = defaultdict(list)
    for (_, name), loss in losses.items():
        by_document[name].append(loss)
    units = np.array([np.mean(by_document[name]) for name in sorted(by_document)])
    if not len(units):
        return None, None, None
    if len(units) < FEWEST:
        return float(units.mean()), None, None
    found: Interval = mean_interval(units[:, None])
    return tuple(float(np.ravel(value)[0]) for value in (found.estimate, found.low, found.high))  # type: ignore[return-value]
