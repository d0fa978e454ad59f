"""Run the plans of the gauge experiment one after another in one process, and write their tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from heedful.training.sweeps.command import packaged_plan
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.one_run import make_run
from heedful.training.sweeps.plan_file import read_plan
from heedful.training.sweeps.result import read_sweep
from reproductions.writing import write_table

OWN = (
    "deciding",
    "positions",
    "rules",
    "loss",
    "covariance",
    "alone",
    "untrained",
    "text_gauge",
    "text_softmax",
    "large",
)
"""Plans of the separating experiment, those that decide first."""

SWEEPS = ("kappa", "irreps")
"""Plans that ``heedful sweep NAME`` makes too."""


def measure_plans(out: Path, names: Sequence[str], tell: Callable[[str], None]) -> None:
    """Make the missing runs, and write each plan's table after every run.

    Args:
        out: Folder of measurements: ``sweeps/NAME`` holds the runs, ``NAME.parquet`` the tidy table.
        names: Plans, of ``OWN`` and ``SWEEPS``.
        tell: Called with a line a run.

    Raises:
        HeedfulError: A run failed.
    """
    for name in names:
        plan, folder = read_plan(plan_file(name)), SweepFolder(out / "sweeps" / name)
        folder.adopt(plan)
        for run in plan.runs:
            if make_run(plan, run, folder):
                tell(f"{name}: {run.title}")
                write_table(read_sweep(folder, plan).table, out / f"{name}.parquet")
        write_table(read_sweep(folder, plan).table, out / f"{name}.parquet")


def plan_file(name: str) -> Path:
    """Return the file of a plan by its name."""
    if name in SWEEPS:
        return packaged_plan(Path(name))
    return Path(str(resources.files("reproductions.gauge").joinpath("plans", f"{name}.yaml")))
