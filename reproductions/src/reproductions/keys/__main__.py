"""``python -P -m reproductions.keys OUT --text FILE``: train the models and measure what claims on keys need.

What is there already is kept. A trained model of your own, measured on the text too: ``--model FOLDER``.
Fewer bits, dimensions and layers are measured by commands of their own, which ``smaller.py`` names.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heedful.errors import HeedfulError
from heedful.loading.documents import Documents, load_documents
from heedful.loading.loaded_model import load_model
from heedful.reporting.write import write_atomic
from heedful.training.model.decoder import HeedfulDecoderForCausalLM
from heedful.training.run_folder import RunFolder
from reproductions.keys.measuring import held_out_windows, measure_heads, rescaled, ten_pair_errors
from reproductions.keys.tables import NOTE_RUN
from reproductions.keys.training import ARMS, train_arms

PRETRAINED, LENGTH = "pretrained", 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, and return the exit code.

    Args:
        arguments: Words of the command line; None for those of the process.

    Returns:
        The exit code: 0, or 3 where text or model cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -P -m reproductions.keys", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of measurements")
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="text files, a document a line or a file")
    parser.add_argument("--arm", action="append", choices=[arm.name for arm in ARMS], help="these runs alone")
    parser.add_argument("--model", type=Path, help="a trained model, measured as it is")
    given = parser.parse_args(arguments)
    try:
        documents = load_documents(given.text)
        given.out.mkdir(parents=True, exist_ok=True)
        if given.model is not None:
            _measure_pretrained(given.model, documents, given.out / PRETRAINED)
        else:
            train_arms(
                documents,
                given.out,
                arms=[arm for arm in ARMS if arm.name in (given.arm or [arm.name])],
                tell=_print_line,
            )
            _measure_runs(given.out)
    except HeedfulError as error:
        _print_line(str(error))
        return 3
    return 0


def _measure_runs(out: Path) -> None:
    """Heads of every run as it is and rescaled; of one that was broken off, at its last checkpoint."""
    for run in sorted(path.parent for path in out.glob("*/run.json")):
        standing = run if (run / "held_out.json").exists() else RunFolder(run).last_checkpoint()
        if standing is None or (run / "rescaled" / "attention.parquet").exists():
            continue
        model: Any = HeedfulDecoderForCausalLM.from_pretrained(standing)
        windows = held_out_windows(run, model.config.max_position_embeddings)
        _measure(model, windows, run)
        if run.name == NOTE_RUN:
            errors = {"error_by_layer": ten_pair_errors(model, windows)}
            write_atomic(out / "ten-pairs.json", json.dumps(errors), overwrite=True)


def _measure_pretrained(folder: Path, documents: Documents, out: Path) -> None:
    loaded: Any = load_model(folder)
    ids = [loaded.tokenizer(text)["input_ids"] for text in documents.texts]
    windows = [one[start : start + LENGTH] for one in ids for start in range(0, len(one) - LENGTH + 1, LENGTH)]
    _measure(loaded.model, windows, out)


def _measure(model: Any, windows: list[list[int]], run: Path) -> None:
    _print_line(f"{run.name}: heads on {len(windows)} windows")
    for part, one in (("heads", model), ("rescaled", rescaled(model))):
        if not (run / part / "attention.parquet").exists():
            measure_heads(one, windows, run / part)


def _print_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
