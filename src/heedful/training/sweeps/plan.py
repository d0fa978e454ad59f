"""Plan of a sweep: axes (or named cells) times seeds, and the resulting runs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from heedful.errors import InputRejected, UsageError
from heedful.loading.regular_file import read_json
from heedful.loading.wording import escaped
from heedful.training.sweeps.recipe import SweepRecipe

SCHEMA = "heedful.sweep-plan/1"
MOST_RUNS = 4096
"""Runs of one plan; each has a folder of its own in one folder."""

CELL = "cell"
"""The axis of a plan that names its cells."""

_DIGITS = 12
_RECORD_BYTES = 16 << 20
Value = bool | int | float | str | None


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One cell of a plan with one seed.

    Attributes:
        number: Its place in the plan, from 1.
        fingerprint: What it depends on, as 12 hexadecimal digits; the name of its folder.
        axes: Axis to its value.
        seed: Its seed.
    """

    number: int
    fingerprint: str
    axes: dict[str, Value]
    seed: int

    @property
    def title(self) -> str:
        """Title such as ``qk_norm=true seed=0``."""
        return f"{cell_title(self.axes)} seed={self.seed}".strip()


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """Validated content of a plan file, also stored in the sweep's folder.

    Attributes:
        recipe: Name of the recipe.
        axes: Setting to the values it takes.
        seeds: Seeds; every cell of the product is run with each.
        fixed: Settings that are the same in all runs; all others are the recipe's defaults.
        text: Absolute paths of texts; none for the embedded text.
        measures: What is measured of each run.
        track: Steps between two records of the tracker, or None.
        cells: Name of a cell to its settings, where cells are no product; their names are the first axis.
        runs: The runs, seeds innermost.
    """

    recipe: str
    axes: dict[str, list[Value]]
    seeds: list[int]
    fixed: dict[str, Value] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)
    track: int | None = None
    cells: dict[str, dict[str, Value]] = field(default_factory=dict)
    runs: list[PlannedRun] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return the plan as a JSON-compatible dict."""
        return {"schema": SCHEMA, **asdict(self)}

    def settings(self, recipe: SweepRecipe, run: PlannedRun) -> Any:
        """Return the recipe settings of a run.

        Args:
            recipe: The plan's recipe.
            run: One of its runs.

        Raises:
            UsageError: The recipe cannot use them.
        """
        axes = dict(run.axes)
        named = self.cells.get(str(axes.pop(CELL)), {}) if self.cells else {}
        return recipe.settings(**{**self.fixed, **named, **axes, "seed": run.seed})

    def run_named(self, name: str) -> PlannedRun:
        """Return a run by number or fingerprint.

        Args:
            name: ``3``, or 12 hexadecimal digits.

        Raises:
            UsageError: There is none.
        """
        for run in self.runs:
            if name == run.fingerprint or (len(name) < _DIGITS and name.isdecimal() and int(name) == run.number):
                return run
        message = f"expected a number from 1 to {len(self.runs)}, or the fingerprint of a run"
        raise UsageError(f"--only {escaped(name, 60)}: {message} (--list-commands shows them)")


def laid_out(plan: SweepPlan, recipe: SweepRecipe, text: str) -> SweepPlan:
    """Expand a plan into its runs, one per combination of axis values and seed, and return the plan with them.

    Args:
        plan: A plan without runs.
        recipe: Its recipe.
        text: Fingerprint of its texts.

    Raises:
        UsageError: The product is too large, or the recipe cannot use the settings of a run.
    """
    wanted = math.prod(len(values) for values in plan.axes.values()) * len(plan.seeds)
    if wanted > MOST_RUNS:
        raise UsageError(f"axes: expected at most {MOST_RUNS:,} runs, the product has {wanted:,} (name fewer values)")
    runs: list[PlannedRun] = []
    for values in product(*plan.axes.values(), plan.seeds):
        axes = dict(zip(plan.axes, values, strict=False))
        run = PlannedRun(number=len(runs) + 1, fingerprint="", axes=axes, seed=int(values[-1] or 0))
        try:
            settings = plan.settings(recipe, run)
        except UsageError as error:
            where = "fixed" if not plan.axes else f"run {run.number} ({escaped(run.title)})"
            raise UsageError(f"{where}: {error}") from error
        print_of_it = _fingerprint(plan, recipe, settings, text)
        runs.append(PlannedRun(number=run.number, fingerprint=print_of_it, axes=axes, seed=run.seed))
    return SweepPlan(**{**_fields(plan), "runs": runs})


def read_record(path: Path) -> SweepPlan:
    """Read the plan stored in a sweep's folder.

    Args:
        path: Its ``plan.json``.

    Raises:
        InputRejected: It holds something else.
    """
    tree = read_json(path, _RECORD_BYTES)
    if tree.pop("schema", None) != SCHEMA:
        raise InputRejected(escaped(path), f"expected a document of schema {SCHEMA}", "name the folder of a sweep")
    try:
        return TypeAdapter(SweepPlan).validate_python(tree)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        message = escaped(f"{place}: {error.errors()[0]['msg']}")
        raise InputRejected(escaped(path), message, "run the sweep again: its plan is written again") from error


def cell_title(axes: Mapping[str, Value]) -> str:
    """Return a title such as ``qk_norm=true learning_rate=0.001``."""
    return " ".join(f"{name}={shown(value)}" for name, value in axes.items())


def shown(value: Value) -> str:
    """Format a value in plan-file notation."""
    return value if isinstance(value, str) else json.dumps(value)


def _fields(plan: SweepPlan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def _fingerprint(plan: SweepPlan, recipe: SweepRecipe, settings: Any, text: str) -> str:
    """Everything that the numbers of a run depend on."""
    binding = {name: value for name, value in asdict(settings).items() if name not in recipe.free}
    whole = {"recipe": recipe.name, "settings": binding, "text": text, "measures": plan.measures, "track": plan.track}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:_DIGITS]
