"""Measure time per step and memory of a run, across interruptions."""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

from heedful.errors import HeedfulError
from heedful.loading.strict_json import read_json
from heedful.training.run_folder import write_whole
from heedful.training.sweeps.measured import RunMeasure

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
