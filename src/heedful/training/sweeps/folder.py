"""The folder of a sweep: its plan, and a folder for each run, named by its fingerprint."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from heedful.errors import HeedfulError, InputRejected, OutputError, UsageError
from heedful.loading.strict_json import read_json
from heedful.loading.wording import escaped
from heedful.reporting.write import refuse_links, remove_stale, write_atomic
from heedful.training.sweeps.claim import holder
from heedful.training.sweeps.plan import PlannedRun, SweepPlan, read_record

PLAN, PLANS, RUNS = "plan.json", "plans", "runs"
_SMALL = 1 << 20


class State(StrEnum):
    """The state of a run."""

    FINISHED = "finished"
    FAILED = "failed"
    RUNNING = "running"
    STOPPED = "stopped"
    WAITING = "waiting"


@dataclass(frozen=True)
class Standing:
    """A run and its state.

    Attributes:
        run: The run.
        state: How far.
        detail: Why it failed, or who makes it.
    """

    run: PlannedRun
    state: State
    detail: str = ""


@dataclass(frozen=True)
class RunPlace:
    """The folder of one run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def measures(self) -> Path:
        """Numbers of a finished run."""
        return self.path / "measures.json"

    @property
    def failure(self) -> Path:
        """Why the last attempt failed."""
        return self.path / "failure.json"

    @property
    def log(self) -> Path:
        """The log of the run."""
        return self.path / "log.txt"

    @property
    def finished(self) -> bool:
        """Whether all numbers of the run exist."""
        return self.measures.is_file()

    def fail(self, reason: str) -> None:
        """Record in one line why the run failed."""
        facts = {"reason": " ".join(reason.split()), "try": os.urandom(8).hex()}
        write_atomic(self.failure, json.dumps(facts) + "\n", overwrite=True)

    def failed(self) -> tuple[str, str] | None:
        """Reason and mark of the last attempt, if it failed."""
        try:
            facts = read_json(self.failure, _SMALL)
        except UsageError:
            return None
        except HeedfulError as error:
            return str(error), ""
        return escaped(facts.get("reason", "")), str(facts.get("try", ""))

    def advance(self, done: int, total: int, what: str) -> None:
        """Record the progress of the run. A reader sees the newest record or the one before it."""
        facts = {"done": done, "total": total, "what": what}
        with contextlib.suppress(OutputError):
            write_atomic(self.path / "progress.json", json.dumps(facts), overwrite=True)

    def progress(self) -> tuple[int, int, str]:
        """The last record of ``advance``; zero of zero if there is none."""
        try:
            facts: Mapping[str, Any] = read_json(self.path / "progress.json", _SMALL)
            return int(facts["done"]), int(facts["total"]), str(facts["what"])
        except (HeedfulError, KeyError, TypeError, ValueError):
            return 0, 0, "begins"

    def standing(self, run: PlannedRun) -> Standing:
        """The state of this folder's run."""
        if self.finished:
            return Standing(run, State.FINISHED)
        if (who := holder(self.path)) is not None:
            return Standing(run, State.RUNNING, who)
        if (failed := self.failed()) is not None:
            return Standing(run, State.FAILED, failed[0])
        return Standing(run, State.STOPPED if self.path.is_dir() else State.WAITING)


@dataclass(frozen=True)
class SweepFolder:
    """A folder of one sweep.

    Attributes:
        path: The folder.
    """

    path: Path

    def place(self, run: PlannedRun) -> RunPlace:
        """The folder of a run, which may not exist yet."""
        return RunPlace(self.path / RUNS / run.fingerprint)

    def kept(self, plan: SweepPlan) -> Path:
        """The folder's own copy of a plan, independent of the user's file."""
        name = hashlib.sha256(json.dumps(plan.record()).encode()).hexdigest()[:12]
        return self.path / PLANS / f"{name}.json"

    def plan(self) -> SweepPlan:
        """The plan of the last sweep in this folder.

        Raises:
            UsageError: It is no folder of a sweep.
            InputRejected: Its plan cannot be read.
        """
        if not (self.path / PLAN).is_file():
            raise UsageError(f"{escaped(self.path)}: no {PLAN}, so no sweep (name the folder that --out named)")
        return read_record(self.path / PLAN)

    def standings(self, plan: SweepPlan) -> list[Standing]:
        """The state of each run of a plan."""
        return [self.place(run).standing(run) for run in plan.runs]

    def adopt(self, plan: SweepPlan) -> str:
        """Make this the plan of the folder, and create the folder if needed.

        Args:
            plan: The plan.

        Returns:
            One line where the folder had another plan, else nothing.

        Raises:
            OutputError: The folder holds something else, or cannot be written.
            InputRejected: The folder holds a symbolic link.
        """
        message = ""
        if self.path.is_dir():
            refuse_links(self.path)
            remove_stale(self.path)
        if (self.path / PLAN).is_file():
            try:
                before: SweepPlan | None = read_record(self.path / PLAN)
            except InputRejected:
                before = None
            if before == plan:
                return ""
            message = self._changed(before, plan)
        elif self.path.is_symlink() or (self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))):
            fix = "name another folder"
            raise OutputError(f"{escaped(self.path)}: not an empty folder and no sweep, nothing was changed ({fix})")
        try:
            for name in (RUNS, PLANS):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{escaped(self.path)}: {error.strerror or error} (name another folder)") from error
        record = json.dumps(plan.record(), indent=1) + "\n"
        for path in (self.kept(plan), self.path / PLAN):
            write_atomic(path, record, overwrite=True)
        return message

    def _changed(self, before: SweepPlan | None, plan: SweepPlan) -> str:
        now = {run.fingerprint for run in plan.runs}
        earlier = {run.fingerprint for run in before.runs} if before else set()
        kept = sum((self.path / RUNS / name).is_dir() for name in now)
        left = sum((self.path / RUNS / name).is_dir() for name in earlier - now)
        message = (
            f"the plan changed: {kept} of {len(now)} runs stand here already and are kept, {len(now) - kept} are new"
        )
        more = f"; {left} no longer planned stay in {RUNS} and are left out of the table" if left else ""
        return f"{escaped(self.path)}: {message}{more}"
