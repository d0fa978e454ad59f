"""The table of a run: complete after every write, and continued when a run is resumed.

Parquet cannot be appended to. Each record is a part of its own, written beside its place and moved there in one step;
when a run ends, or goes on, the parts become one file. A process that is killed loses what it had not recorded yet.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars

from heedful.errors import InputRejected, OutputError, ResourceLimit, UsageError
from heedful.loading.parquet_pages import decoded_table, parquet_outline
from heedful.loading.regular_file import read_small
from heedful.loading.wording import escaped, listed
from heedful.reporting.write import write_atomic

SCHEMA = "heedful.attention/1"
NAME, PARTS = "attention.parquet", "attention.parts"

MOST_BYTES, MOST_ROWS, MOST_COLUMNS = 1 << 28, 20_000_000, 4096
"""Of a table; one of 1,000 steps of 1,000 heads has a million rows of some dozen columns, 100 MB."""

TRIES = 20
"""How often a table is read that changes while it is read."""

SUBJECT = {
    "step": polars.Int64,
    "layer": polars.Int32,
    "module": polars.String,
    "head": polars.Int32,
    "part": polars.String,
    "stage": polars.String,
    "label": polars.String,
    "irrep": polars.String,
    "alarm": polars.String,
    "note": polars.String,
}
"""Columns that say what a row is of; all others are Float32, null where they do not belong to the part."""

PARTS_OF_A_STEP = (
    "step", "query", "key", "attention", "layer", "beliefs", "query_gain", "key_gain", "query_weight", "key_weight",
    "value_weight", "output_weight", "text", "note",
)  # fmt: skip
"""What a row can be of: the whole step, queries, keys, rows of a head, a layer as a whole, beliefs, gains, weights, the
text that checkpoints were read over (in training each step has a batch of its own), or what was not measured."""


def read_table(run: str | Path) -> polars.DataFrame:
    """Read the table of a run, even if the run is still active or was killed.

    Args:
        run: Folder of the run, or a table by itself.

    Returns:
        One row per step, layer, head, part and stage, in the order of steps; no row where nothing was recorded yet.

    Raises:
        UsageError: The run is no path.
        InputRejected: A file in its place is no table of this schema.

    Example:
        >>> read_table("run").filter(step=100)  # doctest: +SKIP
    """
    if not isinstance(run, str | Path):
        raise UsageError(f"run: expected the folder of a run, or its table, got {type(run).__name__}")
    run = Path(run)
    if run.is_file():
        return _read(run).sort("step", maintain_order=True)
    frames = _frames(run)
    if not frames:
        return polars.DataFrame(schema=SUBJECT)
    seen: set[int] = set()
    kept = []
    for frame in frames:
        # A run killed between writing the whole and removing its parts leaves both.
        kept.append(frame.filter(~polars.col("step").is_in(list(seen))))
        seen |= set(frame["step"].unique())
    return polars.concat(kept, how="diagonal").sort("step", maintain_order=True)


def _frames(run: Path) -> list[polars.DataFrame]:
    """The whole and the parts as they stood at one moment: a run that ends meanwhile makes its parts one file."""
    for _ in range(TRIES):
        standing = _standing(run)
        try:
            frames = [_read(path) for path, _ in standing]
        except InputRejected:
            if standing == _standing(run):
                raise
            frames = []
            continue
        if standing == _standing(run):
            break
    return frames


def _standing(run: Path) -> list[tuple[Path, int]]:
    found = []
    for path in [run / NAME, *sorted((run / PARTS).glob("*.parquet"))]:
        with suppress(FileNotFoundError):
            found.append((path, path.stat().st_mtime_ns))
    return found


def _read(path: Path) -> polars.DataFrame:
    content = read_small(path, MOST_BYTES, "a table of a run")
    outline = parquet_outline(content, str(path))
    if outline.decompressed > 4 * MOST_BYTES or outline.rows > MOST_ROWS or len(outline.columns) > MOST_COLUMNS:
        message = f"{outline.rows:,} rows of {len(outline.columns):,} columns, {outline.decompressed:,} bytes"
        raise ResourceLimit(f"{escaped(path)}: expected the table of a run, found {message} (move it away)")
    frame = decoded_table(content, str(path))
    found = polars.read_parquet_metadata(io.BytesIO(content)).get("schema")
    if found != SCHEMA:
        raise InputRejected(str(path), f"expected a table of schema {SCHEMA}, found {str(found)!r}", "move it away")
    strange = [name for name, form in frame.schema.items() if form != SUBJECT.get(name, polars.Float32)]
    if strange or "step" not in frame.columns or frame["step"].null_count():
        message = f"columns of other types: {listed(strange, 3)}" if strange else "no step in some row"
        raise InputRejected(str(path), f"expected a table of schema {SCHEMA}, found {message}", "move it away")
    return frame


class TrackTable:
    """Writer for the table of one run; only one process writes.

    Args:
        run: Folder of the run; made if absent.
        step: Step that the run goes on from: rows of later steps are dropped, since those steps are made again.

    Raises:
        OutputError: A run that begins at 0 finds a table, which is kept; or the folder cannot be made.
        InputRejected: What stands there is no table of this schema.
    """

    def __init__(self, run: str | Path, step: int = 0) -> None:
        self.run = Path(run)
        try:
            (self.run / PARTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.run}: {error.strerror} (name a folder that can be made)") from error
        standing = read_table(self.run)
        if len(standing) and not step:
            last = standing.select(polars.col("step").max()).item()
            raise OutputError(
                f"{self.run / NAME}: a table up to step {last} exists there and was kept "
                "(resume that run, or name another folder)"
            )
        self._whole(standing.filter(polars.col("step") <= step))

    def add(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of one step to the table.

        Args:
            step: Number of the step.
            rows: Column to value each; what is absent or NaN becomes null.

        Raises:
            OutputError: It could not be written; all earlier records are whole.
        """
        self.add_all([(step, rows)])

    def add_all(self, records: Sequence[tuple[int, Sequence[Mapping[str, Any]]]]) -> None:
        """Write several records into the table at once.

        Args:
            records: Step and rows of each, in the order of steps.

        Raises:
            OutputError: They could not be written; all earlier records are whole.
        """
        frame = polars.concat([table_frame(step, rows) for step, rows in records], how="diagonal")
        write_atomic(self.run / PARTS / f"{records[-1][0]:012d}.parquet", table_bytes(frame), overwrite=True)

    def close(self) -> None:
        """Merge the table's part files into one file and remove their folder, which marks the run as ended."""
        self._whole(read_table(self.run))
        with suppress(OSError):  # what another put there is not ours to remove
            (self.run / PARTS).rmdir()

    def _whole(self, frame: polars.DataFrame) -> None:
        if len(frame) or (self.run / NAME).exists():
            write_atomic(self.run / NAME, table_bytes(frame), overwrite=True)
        for part in (self.run / PARTS).glob("*.parquet"):
            part.unlink()


def table_frame(step: int, rows: Sequence[Mapping[str, Any]]) -> polars.DataFrame:
    """Return the rows of one step as a dataframe.

    Args:
        step: Number of the step.
        rows: Column to value each; what is absent or NaN becomes null.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if name not in SUBJECT))
    schema = SUBJECT | dict.fromkeys(names, polars.Float32)
    columns = {name: [row.get(name) for row in rows] for name in schema} | {"step": [step] * len(rows)}
    frame = polars.DataFrame(columns, schema=schema, strict=False)
    return frame.with_columns(polars.col(polars.Float32).fill_nan(None))


def table_bytes(frame: polars.DataFrame) -> bytes:
    """Encode a table as Parquet bytes that ``read_table`` accepts."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", metadata={"schema": SCHEMA})
    return buffer.getvalue()
