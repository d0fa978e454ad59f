"""Apply each mutant to a copy of the source, run its tests there, and list the mutants that no test noticed.

``python -m tests.mutants [WORD ...]``: all mutants, or those whose name, file or tests hold one of the words. Exit
code 1 where one survives or could not be judged. ``--tests`` runs other tests instead of those of the table,
``--pytest`` adds options.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.mutant import ROOT, SOURCE, Mutant
from tests.mutants.table import MUTANTS

PASSED, FAILED = 0, 1
"""Exit codes of pytest: all passed, and some failed. Any other is no answer."""

LIMIT = 900
"""Seconds of one run; a mutant that hangs is noticed."""


class Bench:
    """A copy of the source, and pytest that imports it.

    Args:
        folder: An empty folder.
        options: Further options of pytest.
    """

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.source, self.options = folder / "src", options
        shutil.copytree(SOURCE, self.source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        self.environment = {**os.environ, "PYTHONPATH": str(self.source), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment.setdefault("OMP_NUM_THREADS", "1")
        told = "import heedful; print(heedful.__file__)"
        found = subprocess.run(
            [sys.executable, "-c", told], env=self.environment, cwd=ROOT, capture_output=True, text=True
        )
        if not found.stdout.startswith(str(self.source)):
            raise SystemExit(f"heedful comes from {found.stdout.strip() or found.stderr}, not from the copy")

    def run(self, tests: str) -> tuple[int, str]:
        """Exit code of pytest (`FAILED` where it hung), and the first test that failed."""
        fixed = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no"]
        command = [sys.executable, "-m", "pytest", *fixed, *self.options, *shlex.split(tests)]
        try:
            done = subprocess.run(
                command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            return FAILED, "it hung"
        failed = [line.removeprefix("FAILED ") for line in done.stdout.splitlines() if line.startswith("FAILED ")]
        told = failed[0].split(" - ")[0] if failed else (done.stdout + done.stderr).strip()[-300:]
        return done.returncode, told

    def judge(self, mutant: Mutant, tests: str) -> tuple[int, str]:
        """The same with a mutant in the copy, which is as before afterwards."""
        file = self.source / mutant.path
        text = file.read_text(encoding="utf-8")
        file.write_text(mutant.changed(text), encoding="utf-8")
        try:
            return self.run(tests)
        finally:
            file.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the mutants that are asked for."""
    reader = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    reader.add_argument("words", nargs="*", help="parts of a name, file or tests; none for all mutants")
    reader.add_argument("--tests", help="tests to run instead of each mutant's own")
    reader.add_argument("--pytest", default="", help="further options of pytest, in one string")
    asked = reader.parse_args(arguments)
    wanted = [
        one for one in MUTANTS
        if not asked.words or any(word in f"{one.name} {one.file} {one.tests}" for word in asked.words)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), shlex.split(asked.pytest))
        sound: dict[str, tuple[int, str]] = {}
        survivors, unknown = [], []
        for number, mutant in enumerate(wanted, 1):
            tests, begun = asked.tests or mutant.tests, time.monotonic()
            if tests not in sound:
                sound[tests] = bench.run(tests)
            code, told = sound[tests]
            answer = "NOT JUDGED"
            if code != PASSED:
                unknown.append(mutant)
                told = f"on the true source: {told}"
            else:
                code, told = bench.judge(mutant, tests)
                answer = {PASSED: "SURVIVES", FAILED: "killed"}.get(code, answer)
                survivors += [mutant] if code == PASSED else []
                unknown += [mutant] if code not in (PASSED, FAILED) else []
            shown = "" if code == PASSED else f": {told}"
            seconds = time.monotonic() - begun
            print(
                f"[{number}/{len(wanted)}] {answer:10} {mutant.file}: {mutant.name} ({seconds:.0f} s){shown}",
                flush=True,
            )
    print(f"{len(wanted)} mutants: {len(survivors)} survive, {len(unknown)} not judged")
    for mutant in (*survivors, *unknown):
        print(f"  {mutant.file}: {mutant.name}: {mutant.old!r} -> {mutant.new!r} ({mutant.tests})")
    return 1 if survivors or unknown or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
