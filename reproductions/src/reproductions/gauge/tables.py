"""Read tables of the plans for the claims: one value per seed, in seed order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars
from numpy.typing import NDArray

from heedful.inference.interval import Interval, student_t
from reproductions.evidence import Measurements, NotMeasured

Values = NDArray[np.float64]
_SAME = 1e-12
"""A standard error below it is that of equal values."""

LABELS = ("l0", "l1", "l2")


def by_seed(table: polars.DataFrame, measure: str, label: str | None = None, **cell: Any) -> Values:
    """Return a measure of one cell by seed, averaged over heads where it is measured by head.

    Args:
        table: A tidy table.
        measure: Its name.
        label: Heads of this irrep alone; None for all, or for a measure of the whole model.
        cell: Axis to its value.

    Returns:
        ``(seed,)``.

    Raises:
        NotMeasured: No run of the cell is finished.
    """
    wanted = polars.col("measure") == measure
    for axis, value in cell.items():
        wanted &= polars.col(axis) == value
    if label is not None:
        wanted &= polars.col("label").str.ends_with(label)
    found = table.filter(wanted).group_by("seed").agg(polars.col("value").mean()).sort("seed")
    if found.is_empty():
        raise NotMeasured(" ".join([measure, *(f"{axis}={value}" for axis, value in cell.items())]))
    return found["value"].to_numpy().astype(float)


def spin_contrast(table: polars.DataFrame, **cell: Any) -> Values:
    """Return ``D(l2) - D(l0)``, the concentration difference of spins in nats, for each run of a cell."""
    return by_seed(table, "concentration", "l2", **cell) - by_seed(table, "concentration", "l0", **cell)


def paired(one: Values, other: Values) -> Values:
    """Return differences by seed, over as many first seeds as both have."""
    both = min(len(one), len(other))
    return one[:both] - other[:both]


def over_seeds(values: Values) -> Interval:
    """Return the mean over seeds with Student's 95 % interval."""
    return student_t(values)


def recall(evidence: Measurements, measure: str, arm: str, dim: int, weight: float = 0.0) -> Values:
    """Return a measure of one variant of the recall task, by seed."""
    table = evidence.table("recall")
    cell = (polars.col("arm") == arm) & (polars.col("dim") == dim) & (polars.col("weight") == weight)
    found = table.filter(cell).sort("seed")[measure].to_numpy().astype(float)
    if not len(found):
        raise NotMeasured(f"recall {arm}, {dim} dimensions")
    return found


def slopes(evidence: Measurements, dim: int) -> Values:
    """Return the slope of ``log(kappa / s^2)`` on ``log N`` for temperatures that leave 1.5 effective keys, by seed."""
    table = evidence.table("crowding").filter(polars.col("dim") == dim)
    parts = table.partition_by("seed", maintain_order=True)
    found = [np.polyfit(np.log(part["keys"].to_numpy()), np.log(part["ratio"].to_numpy()), 1)[0] for part in parts]
    return np.array(found, dtype=float)


def above_p(values: Values, bound: float) -> float:
    """Return the one-sided t-test p-value of "the mean is at most ``bound``"; NaN below two seeds."""
    from scipy.stats import t

    if len(values) < 2:
        return math.nan
    beyond, error = values.mean() - bound, values.std(ddof=1) / math.sqrt(len(values))
    if error < _SAME:
        return float(beyond <= 0)
    return float(t.sf(beyond / error, len(values) - 1))


def equivalence_p(values: Values, margin: float) -> float:
    """Return the TOST p-value for equivalence of the mean to 0 within ``margin`` (Schuirmann 1987)."""
    return max(above_p(values, -margin), above_p(-values, -margin))
