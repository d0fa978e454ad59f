"""Folder of a sweep: its plan, and one folder per run, named by the run's fingerprint."""

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
from heedful.loading.regular_file import read_json
from heedful.loading.wording import escaped
from heedful.reporting.write import refuse_links, remove_stale, write_atomic
from heedful.training.sweeps.claim import holder
from heedful.training.sweeps.plan import PlannedRun, SweepPlan, read_record

PLAN, PLANS, RUNS = "plan.json", "plans", "runs"
_SMALL = 1 << 20


class State(StrEnum):
    """State of a run, such as waiting, running or finished."""

    FINISHED = "finished"
    FAILED = "failed"
    RUNNING = "running"
    STOPPED = "stopped"
    WAITING = "waiting"


@dataclass(frozen=True)
class Standing:
    """A run with its state.

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
    """Folder of one run in a sweep.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def measures(self) -> Path:
        """Path of the measurements of a finished run."""
        return self.path / "measures.json"

    @property
    def failure(self) -> Path:
        """Path of the file that states why the last attempt failed."""
        return self.path / "failure.json"

    @property
    def log(self) -> Path:
        """Path of the run's log."""
        return self.path / "log.txt"

    @property
    def finished(self) -> bool:
        """Whether all measurements of the run exist."""
        return self.measures.is_file()

    def fail(self, reason: str) -> None:
        """Store a one-line reason why the run failed."""
        facts = {"reason": " ".join(reason.split()), "try": os.urandom(8).hex()}
        write_atomic(self.failure, json.dumps(facts) + "\n", overwrite=True)

    def failed(self) -> tuple[str, str] | None:
        """Return (reason, random id of the attempt) if the last attempt failed, else None."""
        try:
            facts = read_json(self.failure, _SMALL)
        except UsageError:
            return None
        except HeedfulError as error:
            return str(error), ""
        return escaped(facts.get("reason", "")), str(facts.get("try", ""))

    def advance(self, done: int, total: int, what: str) -> None:
        """Store the progress of the run atomically."""
        facts = {"done": done, "total": total, "what": what}
        with contextlib.suppress(OutputError):
            write_atomic(self.path / "progress.json", json.dumps(facts), overwrite=True)

    def progress(self) -> tuple[int, int, str]:
        """Return the last stored progress as (done, total, what); (0, 0, "begins") if there is none."""
        try:
            facts: Mapping[str, Any] = read_json(self.path / "progress.json", _SMALL)
            return int(facts["done"]), int(facts["total"]), str(facts["what"])
        except (HeedfulError, KeyError, TypeError, ValueError):
            return 0, 0, "begins"

    def standing(self, run: PlannedRun) -> Standing:
        """Return the run with its state (finished, running, failed, stopped or waiting), as read from this folder."""
        if self.finished:
            return Standing(run, State.FINISHED)
        if (who := holder(self.path)) is not None:
            return Standing(run, State.RUNNING, who)
        if (failed := self.failed()) is not None:
            return Standing(run, State.FAILED, failed[0])
        return Standing(run, State.STOPPED if self.path.is_dir() else State.WAITING)


@dataclass(frozen=True)
class SweepFolder:
    """Folder of one sweep.

    Attributes:
        path: The folder.
    """

    path: Path

    def place(self, run: PlannedRun) -> RunPlace:
        """Return the folder of a run, which may not exist yet."""
        return RunPlace(self.path / RUNS / run.fingerprint)

    def kept(self, plan: SweepPlan) -> Path:
        """Return the path of the sweep's own copy of a plan."""
        name = hashlib.sha256(json.dumps(plan.record()).encode()).hexdigest()[:12]
        return self.path / PLANS / f"{name}.json"

    def plan(self) -> SweepPlan:
        """Return the last plan that was run in this folder.

        Raises:
            UsageError: It is no folder of a sweep.
            InputRejected: Its plan cannot be read.
        """
        if not (self.path / PLAN).is_file():
            raise UsageError(f"{escaped(self.path)}: no {PLAN}, so no sweep (name the folder that --out named)")
        return read_record(self.path / PLAN)

    def standings(self, plan: SweepPlan) -> list[Standing]:
        """Return the state of each run of a plan."""
        return [self.place(run).standing(run) for run in plan.runs]

    def adopt(self, plan: SweepPlan) -> str:
        """Store a plan in the sweep's folder, which is created if needed; return one line on what changed if the
        folder had another plan, else an empty string.

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
