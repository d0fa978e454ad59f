"""Turn a training function into a recipe: train or resume, then measure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from heedful.errors import UsageError
from heedful.loading.run_files import RECORD
from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.training.run_folder import RunFolder
from heedful.training.run_settings import FREE
from heedful.training.sweeps.head_measures import MEASURES, Measure, tracked
from heedful.training.sweeps.measured import RunMeasure
from heedful.training.sweeps.recipe import SweepRecipe, Workplace
from heedful.training.sweeps.stopwatch import Stopwatch

TRAINED = "trained"
"""Folder of the training run inside the run's folder: what ``heedful train`` would write."""


def training_recipe(
    name: str,
    settings: type[Any],
    train: Callable[..., Any],
    *,
    measures: Mapping[str, Measure] = MEASURES,
    callbacks: Sequence[type[TrainerCallback]] = (),
) -> SweepRecipe:
    """Return the sweep recipe that trains as ``heedful train NAME`` does and then measures the trained model.

    Args:
        name: The word.
        settings: The settings of the training, as ``RunSettings``.
        train: A function called as ``train_decoder`` is.
        measures: Name to what is measured of a trained folder.
        callbacks: Callbacks of the Trainer, one of each is made a run.

    Returns:
        The recipe; its numbers are those of the measures, the tracker's last record, time and memory.
    """

    def make(chosen: Any, work: Workplace) -> list[RunMeasure]:
        return _trained_and_measured(train, chosen, work, measures, [callback() for callback in callbacks])

    return SweepRecipe(
        name=name,
        settings=settings,
        make=make,
        measures=tuple(measures),
        trains=True,
        free=FREE,
        unset=("trackers",),
    )


def _trained_and_measured(
    train: Callable[..., Any],
    settings: Any,
    work: Workplace,
    measures: Mapping[str, Measure],
    callbacks: list[TrainerCallback],
) -> list[RunMeasure]:
    out, first = work.folder / TRAINED, os.environ.get("RANK", "0") == "0"
    begun = (out / RECORD).is_file()
    if first and not begun and out.is_dir():
        shutil.rmtree(out)  # cut off before it was begun; the folder is this run's own
    watch = Stopwatch(work.folder / "timing.json")

    def progress(done: int, total: int, what: str) -> None:
        if first:
            watch.step(done, total)
        work.progress(done, total, what)

    options: dict[str, Any] = {"resume": begun, "progress": progress, "tell": work.tell, "callbacks": callbacks}
    if work.track is not None:
        if first and RunFolder(out).last_checkpoint() is None:
            _forget_track(work)
        callbacks.append(AttentionTracker(out=out, every=work.track, write=work.tell))
    train(settings, work.documents, out, **options)
    if not first:
        return []
    found = watch.measured()
    for place, name in enumerate(work.measures):
        work.progress(place, len(work.measures), f"measuring {name}")
        if name not in measures:
            raise UsageError(f"measures: expected one of {', '.join(measures)}; got {name!r}")
        found += measures[name](out)
    return found + (tracked(out) if work.track is not None else [])


def _forget_track(work: Workplace) -> None:
    """A run that begins anew is tracked anew."""
    from heedful.monitoring.tracker.table import NAME, PARTS

    (work.folder / TRAINED / NAME).unlink(missing_ok=True)
    shutil.rmtree(work.folder / TRAINED / PARTS, ignore_errors=True)
