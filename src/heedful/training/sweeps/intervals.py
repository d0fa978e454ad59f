"""Summarise each cell of a sweep over seeds: mean, interval, paired difference from the first cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars
from numpy.typing import NDArray

from heedful.inference.interval import Interval
from heedful.inference.mean_interval import AT_LEAST_0, SHARE, UNBOUNDED, mean_interval
from heedful.training.sweeps.plan import SweepPlan
from heedful.training.sweeps.table import SUBJECT, axis_column

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
