"""Collect the runs of the sweep ``docs/sweeps/derived.yaml`` in two tables: held-out losses and embedding drift."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import polars

from heedful.errors import InputRejected
from heedful.reporting.write import write_atomic
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.table import DOCUMENTS, TRAINED

LOSSES, DRIFT = "trained_losses", "trained_drift"
"""Names of the tables. Losses: ``cell, seed, document, loss`` in nats a token; drift: ``cell, seed`` and the columns
of ``drift.csv``."""


def gather(sweep: Path, out: Path) -> None:
    """Write the tables of held-out losses and of embedding drift.

    Args:
        sweep: Folder of the sweep; runs that are not finished are left out.
        out: Folder of measurements.

    Raises:
        InputRejected: No finished run of the sweep kept losses by document and drift.
    """
    folder = SweepFolder(sweep)
    places = [
        (str(run.axes.get("cell", run.title)), run.seed, folder.place(run).path / TRAINED)
        for run in folder.plan().runs
        if folder.place(run).finished
    ]
    for name, tables in ((LOSSES, list(_losses(places))), (DRIFT, list(_drift(places)))):
        if not tables:
            raise InputRejected(
                str(sweep), f"no finished run has what {name} is made of", "run docs/sweeps/derived.yaml"
            )
        stored = BytesIO()
        polars.concat(tables).write_parquet(stored)
        write_atomic(out / f"{name}.parquet", stored.getvalue(), overwrite=True)


def _losses(places: list[tuple[str, int, Path]]) -> Iterator[polars.DataFrame]:
    for cell, seed, path in places:
        if (path / DOCUMENTS).is_file():
            table = polars.read_ndjson(path / DOCUMENTS).select(document="id", loss="loss")
            yield _named(table.drop_nulls(), cell, seed)


def _drift(places: list[tuple[str, int, Path]]) -> Iterator[polars.DataFrame]:
    for cell, seed, path in places:
        if (path / "drift.csv").is_file():
            yield _named(polars.read_csv(path / "drift.csv", infer_schema_length=None), cell, seed)


def _named(table: polars.DataFrame, cell: str, seed: int) -> polars.DataFrame:
    return table.select(polars.lit(cell).alias("cell"), polars.lit(seed).alias("seed"), polars.all())
