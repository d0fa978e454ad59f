"""Results of a sweep so far: tables, intervals, page, JSON.

Format a sweep's results as text of 80 columns: a block per measure, a line per cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

import polars

from heedful.errors import UsageError
from heedful.loading.wording import escaped, listed
from heedful.reporting.escape import visible
from heedful.reporting.pages.part import Page, PagePart
from heedful.training.sweeps.folder import Standing, State, SweepFolder
from heedful.training.sweeps.plan import SweepPlan, shown
from heedful.training.sweeps.table import (
    ALL_HEADS,
    axis_column,
    json_rows,
    over_documents,
    over_seeds,
    save_tables,
    tidy,
)

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
        self._known(measures)
        waiting = [(s.run.title, str(s.state), s.detail) for s in self.standings if s.state is not State.FINISHED]
        lines = page_lines(self.plan, self.intervals, waiting, measures=measures, heads=heads)
        if len(self.documents) and (not measures or "held_out_loss" in measures):
            lines += ["", *document_lines(self.plan, self.documents)]
        return lines + self.notes

    def _known(self, measures: Sequence[str]) -> None:
        known = set(self.intervals["measure"])
        for name in measures:
            if name not in known:
                message = listed(known, 30) or "nothing yet"
                raise UsageError(f"--measure {escaped(name, 60)}: not measured here (measured: {message})")

    def page(self, *, measures: Sequence[str] = (), heads: bool = False) -> Page:
        """Return the results as a page: a table a measure, a row a cell.

        Args:
            measures: Measures to show; none for the usual ones.
            heads: Whether to show each head.

        Raises:
            UsageError: A measure was not measured.
        """
        self._known(measures)
        wanted = shown_measures(self.intervals, measures)
        parts = [_measure_part(self.plan, self.intervals, name, heads) for name in wanted]
        if len(self.documents) and (not measures or "held_out_loss" in measures):
            title = "Held-out loss over documents, for these seeds"
            parts.append(_part(title, DOCUMENTS_TEXT, _cells(self.plan, self.documents.to_dicts()), self.documents))
        waiting = [s for s in self.standings if s.state is not State.FINISHED]
        if waiting:
            rows = [(one.run.title, str(one.state), one.detail or "-") for one in waiting]
            parts.append(PagePart(title="Not finished", header=("run", "state", "reason"), rows=rows, text=""))
        fixed = ", ".join(f"{name}={shown(value)}" for name, value in self.plan.fixed.items())
        done = len(self.plan.runs) - len(waiting)
        subject = f"{self.plan.recipe}: {done} of {len(self.plan.runs)} runs finished, {_count(self.plan.seeds)}"
        notes = [PagePart(title="Note", text=note) for note in self.notes]
        return Page(title="Sweep", subject=subject + (f"; fixed: {fixed}" if fixed else ""), parts=[*parts, *notes])

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


WIDTH = 80
_LABEL, _CELL = 24, 27
SHOWN = (
    "held_out_loss",
    "perplexity",
    "training_loss",
    "concentration",
    "visible_share",
    "max_weight",
    "step_time",
    "peak_memory",
)
"""Measures of a page where none are asked for."""

SEEDS_TEXT = (
    "Mean over seeds with its 95 % interval; the difference is from the first cell, paired by seed. Intervals are one "
    "by one, not adjusted for their number."
)
DOCUMENTS_TEXT = "Mean over held-out documents; the difference is from the first cell, paired by document and seed."


def page_lines(
    plan: SweepPlan,
    intervals: polars.DataFrame,
    unfinished: Sequence[tuple[str, str, str]],
    *,
    measures: Sequence[str] = (),
    heads: bool = False,
) -> list[str]:
    """Return the results of a sweep as lines.

    Args:
        plan: The plan.
        intervals: What ``over_seeds`` gives.
        unfinished: Title, state and reason of each run that is not finished.
        measures: Measures to show; none for ``SHOWN``, or for all where none of those was measured.
        heads: Whether to show each head instead of the mean over heads.

    Returns:
        Lines of at most 80 columns of visible characters.
    """
    done, cells = len(plan.runs) - len(unfinished), len(plan.runs) // len(plan.seeds)
    counted = f"{cells} {'cell' if cells == 1 else 'cells'} x {_count(plan.seeds)}"
    lines = [f"SWEEP {plan.recipe}: {done} of {len(plan.runs)} runs finished, {counted}"]
    if plan.fixed:
        lines += _folded("fixed: " + ", ".join(f"{name}={shown(value)}" for name, value in plan.fixed.items()))
    known = list(dict.fromkeys(intervals["measure"]))
    wanted = shown_measures(intervals, measures)
    if len(intervals):
        against = "; after |: difference from the first line, paired by seed" if cells > 1 else ""
        lines += _folded(f"Mean over seeds, 95 % interval{against}.")
    for name in wanted:
        lines += ["", *_block(name, plan, intervals.filter(polars.col("measure") == name), heads)]
    if others := [name for name in known if name not in wanted]:
        lines += ["", *_folded(f"also measured (--measure NAME): {_listed(others)}")]
    if unfinished:
        lines += ["", "NOT FINISHED"]
        for title, state, why in unfinished:
            lines += _folded(f"{state}: {title}" + (f": {why}" if why else ""), "  ")
    return lines


def shown_measures(intervals: polars.DataFrame, measures: Sequence[str]) -> list[str]:
    """Return the measures to show: those asked for, else those of ``SHOWN`` that were measured, else all."""
    known = list(dict.fromkeys(intervals["measure"]))
    return list(measures) or [name for name in SHOWN if name in known] or known


def _measure_part(plan: SweepPlan, intervals: polars.DataFrame, name: str, heads: bool) -> PagePart:
    rows, columns, title = _measured(name, plan, intervals.filter(polars.col("measure") == name), heads)
    return _part(title, SEEDS_TEXT, columns, rows)


def _part(title: str, text: str, columns: dict[str, list[str]], rows: polars.DataFrame) -> PagePart:
    found = []
    for place, row in enumerate(rows.to_dicts()):
        cell = [values[place] for values in columns.values()] or ["all runs"]
        against = row["against_first"]
        apart = "-" if against is None else _bounded(against, row["against_low"], row["against_high"], 3)
        found.append((*cell, _bounded(row["mean"], row["low"], row["high"]), apart))
    header = (*(columns or {"cell": []}), "mean, 95 %", "less the first cell")
    return PagePart(title=title, header=header, rows=found, text=text)


def document_lines(plan: SweepPlan, documents: polars.DataFrame) -> list[str]:
    """Return the block of lines on held-out loss over documents.

    Args:
        plan: The plan.
        documents: What ``over_documents`` gives.

    Returns:
        Lines of at most 80 columns of visible characters.
    """
    found = documents.to_dicts()
    most = max(row["documents"] for row in found)
    heading, labels = _aligned(_cells(plan, found), len(found))
    message = (
        f"held_out_loss over up to {most} documents for these seeds; after |: the difference from the first cell, "
    )
    lines = _folded(f"{message}paired by document and seed.") + ([f"  {heading}"] if heading else [])
    for label, row in zip(labels, found, strict=True):
        lines += _row(label, row)
    return lines


def _cells(plan: SweepPlan, rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    return {axis: [visible(shown(row[axis_column(axis)])) for row in rows] for axis in plan.axes}


def _measured(
    name: str, plan: SweepPlan, rows: polars.DataFrame, heads: bool
) -> tuple[polars.DataFrame, dict[str, list[str]], str]:
    """The rows of a measure that are shown, the words that name each, and a title."""
    by_head = rows.filter(polars.col("head").is_not_null())
    means = rows.filter(polars.col("label") == ALL_HEADS)
    if len(by_head):
        rows = by_head if heads else means
    unit = next((unit for unit in rows["unit"] if unit), "")
    note = "" if heads or not len(by_head) else ", mean over heads"
    found = rows.to_dicts()
    columns = _cells(plan, found)
    if heads and len(by_head):
        columns["head"] = [visible(_head_name(row)) for row in found]
    return rows, columns, visible(f"{name}{f' ({unit})' if unit else ''}{note}")


def _block(name: str, plan: SweepPlan, rows: polars.DataFrame, heads: bool) -> list[str]:
    rows, columns, title = _measured(name, plan, rows, heads)
    heading, labels = _aligned(columns, len(rows))
    lines = [title, *([f"  {heading}"] if heading else [])]
    for label, row in zip(labels, rows.to_dicts(), strict=True):
        lines += _row(label, row)
    return lines


def _listed(names: Sequence[str]) -> str:
    """Names, those of the tracker's record only counted."""
    own = [name for name in names if "." not in name]
    tracked = [name for name in names if "." in name]
    more = [f"{len(tracked)} of the tracker's last record such as {tracked[-1]}"] if tracked else []
    return ", ".join(own + more)


def _aligned(columns: dict[str, list[str]], rows: int) -> tuple[str, list[str]]:
    """Heading and rows of columns where they fit beside the numbers; else ``name=value`` a row, and no heading."""
    widths = {name: max(map(len, (name, *values))) for name, values in columns.items()}
    if sum(widths.values()) + len(widths) - 1 > _LABEL:
        return "", [" ".join(f"{name}={values[row]}" for name, values in columns.items()) for row in range(rows)]
    heading = " ".join(f"{name:<{width}}" for name, width in widths.items())
    return heading.rstrip(), [
        " ".join(f"{values[row]:<{widths[name]}}" for name, values in columns.items()) for row in range(rows)
    ]


def _head_name(row: dict[str, Any]) -> str:
    place = f"L{row['layer']}H{row['head']}"
    return place if row["label"] in ("", None, place) else f"{place} {row['label']}"


def _row(label: str, row: dict[str, Any]) -> list[str]:
    numbers, against = _bounded(row["mean"], row["low"], row["high"]), ""
    if row["against_first"] is not None:
        against = f"| {_bounded(row['against_first'], row['against_low'], row['against_high'], 3)}"
    short = len(label) <= _LABEL
    above = [] if short else _folded(label.rstrip(), "  ")
    whole = f"  {label if short else '':<{_LABEL}} {numbers:<{_CELL}} {against}".rstrip()
    if len(whole) <= WIDTH:
        return [*above, whole]
    # Tiny numbers are long: their difference gets a line of its own.
    return [*above, f"  {label if short else '':<{_LABEL}} {numbers}", f"  {'':<{_LABEL}} {against}"]


def _bounded(mean: float | None, low: float | None, high: float | None, digits: int = 4) -> str:
    if mean is None:
        return "undefined"
    if low is None or high is None:
        return f"{mean:.{digits}g} (one seed)"
    return f"{mean:.{digits}g} [{low:.{digits}g}, {high:.{digits}g}]"


def _count(seeds: Sequence[int]) -> str:
    return "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"


def _folded(text: str, indent: str = "") -> list[str]:
    whole: Iterable[str] = wrap(visible(text), WIDTH - len(indent) - 2, subsequent_indent="  ")
    return [indent + line for line in whole]
