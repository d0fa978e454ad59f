"""Make one run of a plan: claim it, train or resume it, and write its measurements."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from heedful.errors import HeedfulError
from heedful.loading.documents import load_documents
from heedful.loading.wording import reason
from heedful.training.sweeps.claim import ClaimLost, Held, claimed
from heedful.training.sweeps.folder import RunPlace, SweepFolder
from heedful.training.sweeps.plan import PlannedRun, SweepPlan
from heedful.training.sweeps.recipe import Workplace, recipe_of, save_measured

_BETWEEN_WORDS = 0.5
"""Seconds between two words on how far the run is."""


def make_run(
    plan: SweepPlan,
    run: PlannedRun,
    folder: SweepFolder,
    *,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
    tell: Callable[[str], None] = lambda _line: None,
) -> bool:
    """Make or resume one run and return True; return False without work if the run is already finished.

    Of several processes that ``torchrun`` has started, the first claims, measures and writes.

    Args:
        plan: The plan.
        run: One of its runs.
        folder: Its folder.
        progress: Called with (done, total, what).
        tell: Called with a line now and then.

    Returns:
        Whether anything had to be done.

    Raises:
        Held: Another process makes this run.
        ClaimLost: Another process took it over.
        HeedfulError: Whatever the run raised; its reason stands in the run's folder too.
        Exception: The same.
    """
    place, first = folder.place(run), os.environ.get("RANK", "0") == "0"
    place.path.mkdir(parents=True, exist_ok=True)
    if place.finished:
        return False
    with claimed(place.path) if first else nullcontext() as claim:
        if first and place.finished:
            return False
        try:
            words = _Words(place, claim.check if claim else None, progress)
            _make(plan, run, place, words, tell)
        except (Held, ClaimLost):
            raise
        except Exception as error:
            if first:
                place.fail(failure(error))
            raise
        finally:
            (place.path / "progress.json").unlink(missing_ok=True)
    return True


def failure(error: Exception) -> str:
    """Return a one-line reason why a run failed."""
    if isinstance(error, HeedfulError):
        return str(error)
    return f"{type(error).__name__}: {reason(error)}" if str(error).strip() else type(error).__name__


class _Words:
    """Progress to whoever looks at the folder, now and then, and a look at the claim."""

    def __init__(
        self, place: RunPlace, check: Callable[[], None] | None, progress: Callable[[int, int, str], None]
    ) -> None:
        self.place, self.check, self.progress, self.next = place, check, progress, 0.0

    def __call__(self, done: int, total: int, what: str) -> None:
        if self.check is not None:
            self.check()
            if time.monotonic() >= self.next or done == total:
                self.next = time.monotonic() + _BETWEEN_WORDS
                self.place.advance(done, total, what)
        self.progress(done, total, what)


def _make(plan: SweepPlan, run: PlannedRun, place: RunPlace, words: _Words, tell: Callable[[str], None]) -> None:
    recipe, begun = recipe_of(plan.recipe), time.time()
    settings = plan.settings(recipe, run)
    work = Workplace(
        folder=place.path,
        documents=load_documents([Path(file) for file in plan.text] or None) if recipe.trains else None,
        measures=tuple(plan.measures),
        track=plan.track,
        progress=words,
        tell=tell,
    )
    measured = recipe.make(settings, work)
    if words.check is None:
        return
    words.check()
    versions = {name: version(name) for name in ("torch", "transformers")} | {"python": platform.python_version()}
    facts: dict[str, Any] = {"run": run.fingerprint, "recipe": plan.recipe, "axes": run.axes, "seed": run.seed}
    save_measured(place.measures, measured, {**facts, "seconds": time.time() - begun, "versions": versions})
    place.failure.unlink(missing_ok=True)
