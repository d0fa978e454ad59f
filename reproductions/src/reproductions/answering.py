"""``python -P -m reproductions.answering EVIDENCE``: judge published claims on measurements and store the answers.

A claim whose measurements are not in the folder keeps the answer that is stored.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import reproductions.topics  # noqa: F401  (registers every claim)
from heedful.errors import HeedfulError
from reproductions.answer import Answer
from reproductions.evidence import Measurements
from reproductions.judging import Answered, judge
from reproductions.notes import NOTES
from reproductions.published import CLAIMS
from reproductions.stored import FOLDER, stored_answers, write_answers


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the claims, write one JSON document per note, and return the exit code.

    Args:
        arguments: Words of the command line; None for those of the process.

    Returns:
        The exit code: 0, or 3 where the measurements cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -P -m reproductions.answering", description=__doc__)
    parser.add_argument("evidence", type=Path, help="folder of measurements")
    parser.add_argument("--note", choices=sorted(NOTES), help="claims of this note alone")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / FOLDER, help="where answers are kept")
    given = parser.parse_args(arguments)
    try:
        wanted = [claim for claim in CLAIMS.values() if given.note in (None, claim.note)]
        found = judge(wanted, Measurements(given.evidence))
        written = write_answers(merged(found, stored_answers(given.out)), given.out)
    except HeedfulError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    for path in written:
        sys.stderr.write(f"wrote {path}\n")
    return 0


def merged(found: Sequence[Answered], standing: Sequence[Answered]) -> list[Answered]:
    """Replace old answers by new ones, in registry order; answers to claims that are no longer registered are dropped.

    Args:
        found: New answers; one that is not tested does not replace one that is.
        standing: Answers that are kept.
    """
    kept = {one.name: one for one in standing}
    for one in found:
        old = kept.get(one.name)
        tested = CLAIMS[one.name].judge is None or one.answer != Answer.UNTESTED
        if tested or old is None or old.answer == Answer.UNTESTED:
            kept[one.name] = one
    return [kept[name] for name in CLAIMS if name in kept]


if __name__ == "__main__":
    sys.exit(main())
