"""Definition of a sweep recipe: a settings class, and a function that makes a run with these settings and returns its
measurements.

Registry of recipes that plans can name, imported on first use.

One measurement of a run, and the file with all measurements of a run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from heedful.errors import InputRejected, UsageError
from heedful.loading.documents import Documents
from heedful.loading.regular_file import read_json
from heedful.loading.wording import escaped
from heedful.plugins import Registry
from heedful.reporting.write import write_atomic


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Folder, texts and options with which one run is made.

    Attributes:
        folder: Folder that is this run's alone; what it holds from an earlier try is gone on with.
        documents: Texts, or None for a recipe that reads none.
        measures: Names of what to measure after the run.
        track: Steps between two records of the tracker, or None for no tracker.
        progress: Called as ``progress(done, total, what)``; raises where the run has to stop.
        tell: Called with a line now and then.
    """

    folder: Path
    documents: Documents | None
    measures: tuple[str, ...]
    track: int | None
    progress: Callable[[int, int, str], None]
    tell: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SweepRecipe:
    """A recipe that a plan can name: settings, training function and measurements.

    Attributes:
        name: The word.
        settings: A frozen dataclass with a field ``seed``; its fields are what ``fixed`` and ``axes`` may set. Values
            that it cannot use raise ``UsageError`` when it is built.
        make: Makes a run, or goes on with one, and returns its numbers.
        measures: Names that ``measures`` may list; all are taken where a plan lists none.
        trains: Whether a model is trained: texts are read, and the tracker may watch.
        free: Settings that change nothing about the numbers.
        unset: Fields that no plan can set.
    """

    name: str
    settings: type[Any]
    make: Callable[[Any, Workplace], list[RunMeasure]]
    measures: tuple[str, ...] = ()
    trains: bool = False
    free: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()


RECIPES: Registry[Callable[[], SweepRecipe]] = Registry("recipes", "recipe")
"""Name to what gives the recipe."""


def recipe_of(name: str) -> SweepRecipe:
    """Return a recipe by name.

    Args:
        name: A key of ``RECIPES``.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in RECIPES:
        raise UsageError(f"recipe: expected one of {', '.join(sorted(RECIPES))}; got {escaped(name, 60)!r}")
    return RECIPES[name]()


SCHEMA = "heedful.measures/1"
MOST_BYTES = 64 << 20
"""A run of 10,000 heads with a dozen statistics each stays below it."""


_LARGEST = 1 << 53


@dataclass(frozen=True, kw_only=True)
class RunMeasure:
    """A measured number with its name, layer and head.

    Attributes:
        measure: Its name.
        value: The number; None where it is undefined.
        unit: Its unit, empty for a pure number.
        n: What it was averaged over: tokens of a loss, documents of a head's statistic; None for a single reading.
        layer: Layer, or None for the whole model.
        head: Head within the layer, or None for the whole layer or model.
        label: Name of the head: an irrep, say.
        verdict: What the head is: SHARP, SELECTIVE, WEAK, DIFFUSE or UNDEFINED.
    """

    measure: str
    value: float | None
    unit: str = ""
    n: int | None = None
    layer: int | None = None
    head: int | None = None
    label: str = ""
    verdict: str = ""


def save_measured(path: Path, measured: Sequence[RunMeasure], facts: Mapping[str, Any]) -> None:
    """Write a run's measurements atomically; non-finite numbers become null.

    Args:
        path: The file.
        measured: The numbers.
        facts: What else is kept: the run's settings, versions, seconds.

    Raises:
        OutputError: It could not be written.
    """
    document = {"schema": SCHEMA, **facts, "measures": [_sparse(one) for one in measured]}
    write_atomic(path, json.dumps(document, indent=1) + "\n", overwrite=True)


def read_measured(path: Path) -> tuple[list[RunMeasure], dict[str, Any]]:
    """Read the file that ``save_measured`` wrote.

    Args:
        path: The file.

    Returns:
        The numbers, and the other facts.

    Raises:
        InputRejected: It holds something else.
    """
    document = read_json(path, MOST_BYTES)
    if document.pop("schema", None) != SCHEMA:
        raise InputRejected(escaped(path), f"expected a document of schema {SCHEMA}", "move it away")
    try:
        found = TypeAdapter(list[RunMeasure]).validate_python(document.pop("measures", None))
        if beyond := next((one for one in found if _beyond(one)), None):
            message = f"{escaped(beyond.measure, 60)}: a count below 0 or beyond {_LARGEST:,}"
            raise InputRejected(escaped(path), message, "move it away; the run is then measured again")
        return found, document
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        message = f"measures.{place}: {error.errors()[0]['msg']}"
        raise InputRejected(escaped(path), escaped(message), "move it away; the run is then measured again") from error


def _beyond(one: RunMeasure) -> bool:
    return any(count is not None and not 0 <= count < _LARGEST for count in (one.n, one.layer, one.head))


def _sparse(one: RunMeasure) -> dict[str, Any]:
    """Its fields without those that say nothing; the value always stands."""
    finite = one.value is not None and math.isfinite(one.value)
    fields = {name: field for name, field in asdict(one).items() if field not in (None, "")}
    return fields | {"value": one.value if finite else None}
