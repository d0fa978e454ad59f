"""``python -P -m reproductions.counts OUT --text FILE...``: derive attention from counts of these texts and measure it.

What is there already is kept. With ``--figures FOLDER`` what is measured is drawn, and nothing measured; with
``--sweep FOLDER`` what a sweep of ``docs/sweeps/derived.yaml`` trained is put beside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from heedful.errors import HeedfulError
from reproductions.counts.measuring import measure
from reproductions.counts.pictures import save_pictures
from reproductions.counts.samples import SLICES
from reproductions.counts.trained import gather
from reproductions.evidence import Measurements


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurements, or draw their figures, and return the exit code.

    Args:
        arguments: Words of the command line; None for those of the process.

    Returns:
        The exit code: 0, or 3 where a text or a measurement cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -P -m reproductions.counts", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of measurements")
    parser.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE", help="plain texts in English")
    parser.add_argument(
        "--slices",
        type=int,
        default=SLICES,
        help=f"measured slices of each text, which are no units of their own (default: {SLICES})",
    )
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw what is measured there, measure nothing")
    parser.add_argument("--sweep", type=Path, metavar="FOLDER", help="put what this sweep trained there")
    given = parser.parse_args(arguments)
    if given.figures is None and given.sweep is None and not given.text:
        parser.error("--text: expected at least one file")
    if given.slices < 1:
        parser.error("--slices: expected at least 1")
    try:
        if given.figures is not None:
            save_pictures(Measurements(given.out), given.figures)
            return 0
        (given.out / "units").mkdir(parents=True, exist_ok=True)
        if given.sweep is not None:
            gather(given.sweep, given.out)
        if given.text:
            measure(given.out, given.text, _print_line, given.slices)
    except HeedfulError as error:
        _print_line(str(error))
        return 3
    except OSError as error:
        _print_line(f"{error.filename}: {error.strerror}")
        return 3
    return 0


def _print_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
