"""Results of a sweep so far: tables, intervals, page, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars

from heedful.errors import UsageError
from heedful.loading.wording import escaped, listed
from heedful.training.sweeps.folder import Standing, State, SweepFolder
from heedful.training.sweeps.intervals import over_seeds
from heedful.training.sweeps.over_documents import over_documents
from heedful.training.sweeps.page import document_lines, page_lines
from heedful.training.sweeps.plan import SweepPlan
from heedful.training.sweeps.table import json_rows, save_tables, tidy

SCHEMA = "heedful.sweep/1"


@dataclass(frozen=True)
class Result:
    """Tables of a sweep's finished runs.

    Attributes:
        plan: The plan.
        standings: How far each run is.
        table: One row a run, layer, head and measure.
        intervals: One row a cell, layer, head and measure, over seeds.
        notes: Runs whose numbers cannot be read.
        documents: One row a cell, over held-out documents; empty where runs kept no losses by document.
    """

    plan: SweepPlan
    standings: list[Standing]
    table: polars.DataFrame
    intervals: polars.DataFrame
    notes: list[str]
    documents: polars.DataFrame = field(default_factory=polars.DataFrame)

    @property
    def failed(self) -> list[Standing]:
        """Runs that failed."""
        return [standing for standing in self.standings if standing.state is State.FAILED]

    def lines(self, *, measures: Sequence[str] = (), heads: bool = False) -> list[str]:
        """Return the results as lines of at most 80 columns.

        Args:
            measures: Measures to show; none for the usual ones.
            heads: Whether to show each head.

        Raises:
            UsageError: A measure was not measured.
        """
        known = set(self.intervals["measure"])
        for name in measures:
            if name not in known:
                message = listed(known, 30) or "nothing yet"
                raise UsageError(f"--measure {escaped(name, 60)}: not measured here (measured: {message})")
        waiting = [(s.run.title, str(s.state), s.detail) for s in self.standings if s.state is not State.FINISHED]
        lines = page_lines(self.plan, self.intervals, waiting, measures=measures, heads=heads)
        if len(self.documents) and (not measures or "held_out_loss" in measures):
            lines += ["", *document_lines(self.plan, self.documents)]
        return lines + self.notes

    def document(self) -> dict[str, Any]:
        """Return everything except the tidy table as a JSON-compatible dict."""
        runs = [
            {
                "number": standing.run.number,
                "run": standing.run.fingerprint,
                "axes": standing.run.axes,
                "seed": standing.run.seed,
                "state": str(standing.state),
                "detail": standing.detail,
            }
            for standing in self.standings
        ]
        plan = {name: value for name, value in self.plan.record().items() if name not in ("schema", "runs")}
        return {"schema": SCHEMA, "plan": plan, "runs": runs, "intervals": json_rows(self.intervals),
                "documents": json_rows(self.documents)}  # fmt: skip

    def save(self, folder: Path) -> list[Path]:
        """Write ``table``, ``intervals`` and, if available, ``documents``, each as Parquet and CSV.

        Args:
            folder: Where.

        Raises:
            OutputError: A file could not be written.
        """
        frames = {"table": self.table, "intervals": self.intervals}
        return save_tables(folder, frames | ({"documents": self.documents} if len(self.documents) else {}))


def read_sweep(folder: SweepFolder, plan: SweepPlan | None = None) -> Result:
    """Read the results in a sweep's folder, even while it runs.

    Args:
        folder: The folder.
        plan: The plan; None for the one that was run last.

    Raises:
        UsageError: It is no folder of a sweep.
        InputRejected: Its plan cannot be read.
    """
    known = plan or folder.plan()
    table, unread = tidy(known, folder)
    documents = over_documents(known, folder)
    return Result(known, folder.standings(known), table, over_seeds(known, table), unread, documents)
