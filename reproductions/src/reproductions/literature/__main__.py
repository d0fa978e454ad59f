"""``python -P -m reproductions.literature OUT --models FOLDER``: measure what claims of the literature are judged on.

``FOLDER`` holds the unpacked packages of trained models (``make realmodels``). What is there already is kept. The text
is what installed packages say of themselves. One core, about ten minutes; nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from heedful.errors import HeedfulError
from heedful.reporting.write import write_atomic
from reproductions.literature import measuring, opening, removing
from reproductions.literature.tools import Given

DECODER: dict[str, Callable[[Given], measuring.Found]] = {
    "sinks": measuring.sinks,
    "windows": measuring.windows,
    "massive": measuring.massive,
    "induction": measuring.induction,
    "pruning": removing.pruning,
    "dormant": removing.dormant,
    "retrieval": removing.retrieval,
    "entropy": removing.entropy,
    "last_layers": removing.last_layers,
}
ENCODER: dict[str, Callable[[Given], measuring.Found]] = {"encoder": removing.encoder}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not measured yet.

    Args:
        arguments: Words of the command line; None for those of the process.

    Returns:
        The exit code: 0, or 3 where text or models cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -P -m reproductions.literature", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of measurements")
    parser.add_argument("--models", type=Path, required=True, help="folder of unpacked packages")
    parser.add_argument("--part", action="append", choices=[*DECODER, *ENCODER], help="these measurements alone")
    given = parser.parse_args(arguments)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        for made, parts in ((opening.decoder, DECODER), (opening.encoder, ENCODER)):
            wanted = [
                name
                for name in parts
                if name in (given.part or [name]) and not (given.out / f"literature-{name}.json").exists()
            ]
            if not wanted:
                continue
            model = made(given.models)
            for name in wanted:
                sys.stderr.write(f"{name}\n")
                found = parts[name](model)
                write_atomic(given.out / f"literature-{name}.json", json.dumps(found), overwrite=True)
    except HeedfulError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
