"""A plan (a product of axes, seeds named) into runs that resume, and one table."""

from heedful.sweeps.folder import Standing, State, SweepFolder
from heedful.sweeps.measured import Measured
from heedful.sweeps.one_run import make_run
from heedful.sweeps.packaged import PLANS, packaged_plan
from heedful.sweeps.parallel import Share, View, run_command, run_sweep
from heedful.sweeps.plan import Plan, PlannedRun
from heedful.sweeps.plan_file import read_plan
from heedful.sweeps.recipe import Recipe, Workplace
from heedful.sweeps.recipes import RECIPES
from heedful.sweeps.result import Result, read_sweep

__all__ = [
    "PLANS",
    "RECIPES",
    "Measured",
    "Plan",
    "PlannedRun",
    "Recipe",
    "Result",
    "Share",
    "Standing",
    "State",
    "SweepFolder",
    "View",
    "Workplace",
    "make_run",
    "packaged_plan",
    "read_plan",
    "read_sweep",
    "run_command",
    "run_sweep",
]
