"""``python -P -m reproductions.gauge OUT``: train the gauge models and measure what their claims need.

What is there already is kept; a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from heedful.errors import HeedfulError
from reproductions.evidence import Measurements
from reproductions.gauge.measuring import OWN, SWEEPS, measure_plans
from reproductions.gauge.pictures import save_pictures
from reproductions.gauge.simulating import measure_crowding, measure_recall


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, simulate, measure, and return the exit code.

    Args:
        arguments: Words of the command line; None for those of the process.

    Returns:
        The exit code: 0, or 3 where a run failed.
    """
    parser = argparse.ArgumentParser(prog="python -P -m reproductions.gauge", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of measurements")
    parser.add_argument("--plan", action="append", choices=[*OWN, *SWEEPS], help="these plans alone")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw what is measured there, measure nothing")
    given = parser.parse_args(arguments)
    try:
        if given.figures is not None:
            save_pictures(Measurements(given.out), given.figures)
            return 0
        given.out.mkdir(parents=True, exist_ok=True)
        if given.plan is None:
            measure_recall(given.out, _print_line)
            measure_crowding(given.out, _print_line)
        measure_plans(given.out, given.plan or [*OWN, *SWEEPS], _print_line)
    except HeedfulError as error:
        _print_line(str(error))
        return 3
    return 0


def _print_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
