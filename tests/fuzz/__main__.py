"""``python -m tests.fuzz``: broken files for ten minutes a parser, then every field of every config.

``--minutes N`` for each parser; words choose parsers, ``configs``, ``nested configs`` and ``tokenizers``. Exit code 1
where a case got what it must not; the case's number makes it again.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.configs import BYTES, SECONDS, ask, base, cases
from tests.fuzz.measured import measured
from tests.fuzz.parsers import PARSERS, run
from tests.fuzz.tokenizers import hostile, use

MOST_MEMORY = 4 << 30
TOKENIZER_SECONDS, TOKENIZER_BYTES = 20, 1_000_000_000


def parser(name: str, seconds: float, first: int) -> int:
    """Broken files until the time is over; the number of those that got what they must not."""
    until, number, found, failed = time.monotonic() + seconds, first, Counter[int](), 0
    while time.monotonic() < until:
        try:
            found[run(name, random.Random(f"{name} {number}"))] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failed += 1
            print(f"FAILED {name} {number}: {traceback.format_exc()[-800:]}", flush=True)
        number += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    failed += peak > MOST_MEMORY
    shown = ", ".join(f"{count:,} exit {code}" for code, count in sorted(found.items()))
    print(f"{name}: {number - first:,} files, {failed} failing; {shown}; {peak >> 20:,} MiB at most", flush=True)
    return failed


def configs(nested: bool, wanted: list[str], most: int) -> int:
    """Every integer field of every config in turn."""
    every = sorted(cases(nested), key=lambda case: case.model_type)
    every = [case for case in every if not wanted or case.model_type in wanted]
    if most < len(every):
        every = sorted(random.Random(0).sample(every, most), key=lambda case: case.model_type)
    found, failed, known, last = Counter[tuple[int, bool]](), 0, "", ""
    slowest, largest = 0.0, 0
    for case in every:
        if case.model_type != last:
            known, last = base(case.model_type), case.model_type
        outcome = ask(case, known)
        found[outcome.code, outcome.value == known] += 1
        slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.bytes)
        if not outcome.sound(SECONDS, BYTES):
            failed += 1
            summary = f"{outcome.code} {outcome.seconds:.1f} s {outcome.bytes >> 20} MiB {outcome.message[:200]}"
            print(f"FAILED {case.model_type} {case.path}: {summary}", flush=True)
    shown = ", ".join(f"{count} exit {code}{' same' * same}" for (code, same), count in sorted(found.items()))
    print(f"{'nested ' * nested}configs: {len(every)} cases, {failed} failing; {shown}; "
          f"{slowest:.1f} s, {largest >> 20:,} MiB at most", flush=True)  # fmt: skip
    return failed


def tokenizers() -> int:
    """Each hostile tokenizer, loaded and used."""
    found, failed = Counter[int](), 0
    for name, content in hostile():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tokenizer.json").write_bytes(content)
            outcome = measured(lambda folder=folder: use(Path(folder)))  # type: ignore[misc]
        found[outcome.code] += 1
        if not outcome.sound(TOKENIZER_SECONDS, TOKENIZER_BYTES, (0, 3)):
            failed += 1
            print(f"FAILED {name}: {outcome}", flush=True)
    print(f"tokenizers: {sum(found.values())} cases, {failed} failing; {dict(found)}", flush=True)
    return failed


def main() -> int:
    """The exit code."""
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    reader.add_argument("words", nargs="*")
    reader.add_argument("--minutes", type=float, default=10)
    reader.add_argument("--first", type=int, default=0, help="Number of the first file.")
    reader.add_argument("--cases", type=int, default=10**9, help="Most cases of configs.")
    reader.add_argument("--types", nargs="*", default=[], help="Model types, for configs.")
    given = reader.parse_args()
    wanted = given.words or [*PARSERS, "tokenizers", "configs", "nested configs"]
    failed = 0
    for word in wanted:
        if word in PARSERS:
            failed += parser(word, 60 * given.minutes, given.first)
        elif word == "tokenizers":
            failed += tokenizers()
        else:
            failed += configs(word.startswith("nested"), given.types, given.cases)
    return min(1, failed)


if __name__ == "__main__":
    sys.exit(main())
