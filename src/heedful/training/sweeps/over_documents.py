"""Compare the held-out loss of cells over documents, paired by document."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars

from heedful.errors import InputRejected
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import FEWEST_FOR_CLAIM, mean_interval
from heedful.loading.regular_file import read_small
from heedful.loading.wording import escaped
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.plan import SweepPlan, Value
from heedful.training.sweeps.table import axis_column

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
        mean = _interval(losses)
        apart = _interval({key: losses[key] - first[key] for key in losses.keys() & first})
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


def _interval(losses: Losses) -> tuple[float | None, float | None, float | None]:
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
