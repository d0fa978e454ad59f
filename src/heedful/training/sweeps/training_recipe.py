"""Turn a training function into a recipe: train or resume, then measure.

Measure time per step and memory of a run, across interruptions.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from heedful.errors import HeedfulError, UsageError
from heedful.loading.regular_file import read_json
from heedful.loading.run_files import RECORD
from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.training.run_folder import RunFolder, write_whole
from heedful.training.run_settings import FREE
from heedful.training.sweeps.head_measures import MEASURES, Measure, tracked
from heedful.training.sweeps.recipe import RunMeasure, SweepRecipe, Workplace

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


_MEBIBYTE = 1 << 20
_BETWEEN_RECORDS = 2.0
_SMALL = 1 << 16


class Stopwatch:
    """Measures the time between calls of ``step`` and the peak memory of the process.

    Evaluation and checkpoints fall into a few of these times; the median knows nothing of them. The figures of the
    process that took the most steps are kept, for a run that was stopped and gone on with.

    Args:
        path: File that keeps the figures.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.seconds = path, list[float]()
        self._last, self._next = 0.0, 0.0
        self._before = memory_peak()

    def step(self, done: int, total: int) -> None:
        """Record a finished step, number ``done`` of ``total``."""
        now = time.perf_counter()
        if self._last:
            self.seconds.append(now - self._last)
        self._last = now
        if self.seconds and (now >= self._next or done >= total):
            self._next = now + _BETWEEN_RECORDS
            self._record()

    def _record(self) -> None:
        if len(self.seconds) < self._kept().get("steps", 0):
            return
        figures: dict[str, float] = {"steps": len(self.seconds), "median": statistics.median(self.seconds)}
        peaks = {"peak": memory_peak(), "before": self._before, "device": _device_peak()}
        write_whole(self.path, figures | {name: peak for name, peak in peaks.items() if peak is not None})

    def _kept(self) -> dict[str, float]:
        try:
            return read_json(self.path, _SMALL)
        except HeedfulError:
            return {}

    def measured(self) -> list[RunMeasure]:
        """Return the median seconds per step, the process's memory before the run and its peak memory, and the peak
        device memory; memory in MiB.
        """
        kept = self._kept()
        steps = int(kept.get("steps", 0))
        found = [RunMeasure(measure="step_time", value=kept.get("median"), unit="s", n=steps)]
        names = {"peak": "peak_memory", "before": "memory_before", "device": "peak_device_memory"}
        found += [
            RunMeasure(measure=name, value=kept[key] / _MEBIBYTE, unit="MiB")
            for key, name in names.items()
            if key in kept
        ]
        return found


def memory_peak() -> int | None:
    """Return the peak resident bytes of this process, or None if the system does not report them."""
    try:
        # Not `getrusage`: it begins with what the parent had when it started this process.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration, ValueError):
        pass
    if os.name != "posix":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _device_peak() -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
