"""Apply each mutant to a copy of the source, run its tests there, and list the mutants that no test noticed.

``python -m tests.mutants [WORD ...]``: all mutants, or those whose name, file or tests hold one of the words. Exit
code 1 where one survives or could not be judged. ``--tests`` runs other tests instead of those of the table,
``--pytest`` adds options.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import pytest
from tests.mutants.mutant import ROOT, SOURCE, Mutant
from tests.mutants.table import MUTANTS

PASSED, FAILED, NO_ANSWER = 0, 1, 2
"""Exit codes of pytest: all passed, some failed, and no answer, as is any other."""

SLOW_TO_IMPORT = (
    "torch",
    "hypothesis",
    "polars",
    "scipy.stats",
    "scipy.sparse.linalg",
    "transformers.generation.utils",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "transformers.models.mistral.modeling_mistral",
)
"""What every run would import anew; nothing of heedful."""

LIMIT = 900
"""Seconds of one run; a mutant that hangs is noticed."""


class Bench:
    """A copy of the source, and pytest that imports it: each run a fork of this process, which has imported the rest.

    Args:
        folder: An empty folder.
        options: Further options of pytest.
    """

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.source, self.told, self.options = folder / "src", folder / "told.txt", options
        shutil.copytree(SOURCE, self.source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        sys.dont_write_bytecode = True  # what is stored of one mutant must not be read for another
        for name in SLOW_TO_IMPORT:
            importlib.import_module(name)
        if "heedful" in sys.modules:
            raise SystemExit("heedful is imported already: its copy could not be")

    def run(self, tests: str) -> tuple[int, str]:
        """Exit code of pytest (`FAILED` where it hung), and the first test that failed."""
        child = get_context("fork").Process(target=self._tested, args=(shlex.split(tests),))
        child.start()
        child.join(LIMIT)
        if child.is_alive():
            child.kill()
            child.join()
            return FAILED, "it hung"
        message = self.told.read_text(encoding="utf-8", errors="replace")
        failed = [line.removeprefix("FAILED ") for line in message.splitlines() if line.startswith("FAILED ")]
        return child.exitcode or 0, failed[0].split(" - ")[0] if failed else message.strip()[-300:]

    def _tested(self, tests: list[str]) -> None:
        """Run pytest in a process of its own and end it."""
        with self.told.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            sys.path.insert(0, str(self.source))
            os.chdir(ROOT)
            fixed = ["-q", "-x", "-p", "no:cacheprovider", "--tb=no", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
            code = int(pytest.main([*fixed, *self.options, *tests]))
            file_of = sys.modules["heedful"].__file__ or ""
            if not file_of.startswith(str(self.source)):
                print(f"heedful came from {file_of}, not from the copy")
                code = NO_ANSWER
            sys.stdout.flush()
        os._exit(code)

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
            code, message = sound[tests]
            answer = "NOT JUDGED"
            if code != PASSED:
                unknown.append(mutant)
                message = f"on the true source: {message}"
            else:
                code, message = bench.judge(mutant, tests)
                answer = {PASSED: "SURVIVES", FAILED: "killed"}.get(code, answer)
                survivors += [mutant] if code == PASSED else []
                unknown += [mutant] if code not in (PASSED, FAILED) else []
            shown = "" if code == PASSED else f": {message}"
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
