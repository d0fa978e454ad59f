"""Definition of a sweep recipe: a settings class, and a function that makes a run with these settings and returns its
measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedful.loading.documents import Documents
from heedful.training.sweeps.measured import RunMeasure


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
