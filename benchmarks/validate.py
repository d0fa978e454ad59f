"""A whole validation against the plain forward passes of the same model on the same tokens, in one run.

    python benchmarks/validate.py [MODEL] [--text FILE] [--sequences 64] [--seq-len 128] [--preset quick standard]

Times are process CPU seconds; the ratio is what to read.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
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


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Process CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--text", type=Path, nargs="*")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--preset", nargs="*", default=["quick", "standard"])
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Run each way in turn and print the ratios."""
    wanted = arguments()
    torch.set_num_threads(wanted.threads)
    loaded = load_model(wanted.model)
    sequences = make_sequences(
        load_documents(wanted.text), loaded.tokenizer, seq_len=wanted.seq_len, sequences=wanted.sequences
    )
    batches = Study(loaded.model, sequences).batches

    def forward() -> None:
        with torch.no_grad(), evaluating(loaded.model):
            for batch in batches:
                run_model(loaded.model, batch.input_ids, batch.attention_mask)

    def captured() -> None:
        with capture(loaded.model):
            forward()

    forward()
    plain = min(cpu_seconds(forward) for _ in range(3))
    works: dict[str, Callable[[], Any]] = {
        "capture, every statistic": captured,
        "head table": lambda: head_rows(loaded.model, sequences),
    }
    for preset in wanted.preset:
        works[f"validate --preset {preset}"] = lambda preset=preset: validate(
            loaded.model, sequences, settings=Settings(preset=preset)
        )
    table = Table(title=f"{loaded.name}: {len(sequences.input_ids)} sequences of {sequences.input_ids.shape[1]} tokens")
    for column in ("what", "CPU s", "x plain forward", "peak MiB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    table.add_row("plain forward passes", f"{plain:.2f}", "1.0", f"{peak_mib():.0f}")
    for what, work in works.items():
        seconds = cpu_seconds(work)
        table.add_row(what, f"{seconds:.2f}", f"{seconds / plain:.1f}", f"{peak_mib():.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
