"""Run a plan in several processes of this machine; other machines may share the folder."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heedful.errors import UsageError
from heedful.loading.regular_file import open_regular
from heedful.loading.wording import escaped
from heedful.reporting.write import open_log
from heedful.training.sweeps.folder import Standing, State, SweepFolder
from heedful.training.sweeps.plan import PlannedRun, SweepPlan

FOLLOWS = "HEEDFUL_SWEEP_FOLLOWS"
"""Set for a process that ends with the sweep that started it: when its standard input closes."""

TICK = 0.2
"""Seconds between two looks at the processes."""
BETWEEN_SEARCHES = 2.0
"""Seconds between two looks for a run that another machine has given up."""
GRACE = 30.0
"""Seconds that a process has to leave when it is told to."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Progress of a running sweep.

    Attributes:
        runs: Runs of the plan.
        finished: Those that are finished.
        failed: Those that failed.
        elsewhere: Those that other processes make.
        working: Those that this sweep makes now, each with (done, total, what).
    """

    runs: int
    finished: int
    failed: int
    elsewhere: int
    working: list[tuple[PlannedRun, tuple[int, int, str]]]


@dataclass(frozen=True)
class Share:
    """Number of processes and threads that a sweep uses on this machine.

    Attributes:
        processes: Runs at a time.
        threads: Threads of each.
    """

    processes: int
    threads: int

    @staticmethod
    def of_machine(processes: int | None, threads: int) -> Share:
        """Return the processes and threads to use on this machine; if ``processes`` is None, as many processes as the
        cores allow.

        Args:
            processes: Runs at a time; None for cores over threads.
            threads: Threads of each.

        Raises:
            UsageError: Processes and threads are more than the cores.
        """
        cores = usable_cores()
        if processes is None:
            return Share(max(1, cores // threads), threads)
        if processes > 1 and processes * threads > cores:
            message = f"{processes} processes of {threads} threads are more than the {cores} cores of this machine"
            raise UsageError(f"--processes: {message} (give fewer, or leave it out)")
        return Share(processes, threads)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_words(plan: SweepPlan, run: PlannedRun, folder: SweepFolder, threads: int) -> list[str]:
    """Return the ``heedful`` command-line arguments that make one run.

    Args:
        plan: The plan, which the folder has adopted.
        run: One of its runs.
        folder: The folder.
        threads: Threads of the process.
    """
    out, kept = str(folder.path.absolute()), str(folder.kept(plan).absolute())
    return ["sweep", "run", kept, "--out", out, "--only", run.fingerprint, "--threads", str(threads)]


def run_command(plan: SweepPlan, run: PlannedRun, folder: SweepFolder, threads: int) -> str:
    """Return the shell command that makes one run."""
    return shlex.join(["heedful", *run_words(plan, run, folder, threads)])


def run_sweep(
    plan: SweepPlan,
    folder: SweepFolder,
    share: Share,
    *,
    look: Callable[[View], None] = lambda _view: None,
    ended: Callable[[Standing], None] = lambda _standing: None,
) -> list[Standing]:
    """Make every unfinished run, and wait for runs of other processes.

    Each run is tried once; one that failed in an earlier sweep is tried again.

    Args:
        plan: The plan, which the folder has adopted.
        folder: The folder.
        share: How many processes and threads.
        look: Called a few times a second.
        ended: Called when a run is over that was not over when this began.

    Returns:
        How far each run is: finished or failed.
    """
    sweep = _Sweep(plan, folder, share, ended)
    try:
        while sweep.waiting or sweep.children:
            sweep.reap()
            sweep.start()
            look(sweep.view())
            if sweep.waiting or sweep.children:
                time.sleep(TICK)
    finally:
        _stop(list(sweep.children.values()))
    look(sweep.view())
    return [sweep.over[run.fingerprint] for run in plan.runs]


class _Sweep:
    def __init__(self, plan: SweepPlan, folder: SweepFolder, share: Share, ended: Callable[[Standing], None]) -> None:
        self.plan, self.folder, self.share, self.ended = plan, folder, share, ended
        self.over = {s.run.fingerprint: s for s in folder.standings(plan) if s.state is State.FINISHED}
        self.waiting = [run for run in plan.runs if run.fingerprint not in self.over]
        self.earlier = {run.fingerprint: self._mark(run) for run in self.waiting}
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.runs = {run.fingerprint: run for run in plan.runs}
        self.elsewhere: set[str] = set()
        self.next_search = 0.0

    def view(self) -> View:
        failed = sum(standing.state is State.FAILED for standing in self.over.values())
        working = [(self.runs[name], self.folder.place(self.runs[name]).progress()) for name in self.children]
        return View(
            runs=len(self.plan.runs),
            finished=len(self.over) - failed,
            failed=failed,
            elsewhere=len(self.elsewhere),
            working=working,
        )

    def reap(self) -> None:
        """Processes that have ended: their runs are over, or back in the queue where another had them."""
        for name, child in list(self.children.items()):
            if child.poll() is None:
                continue
            del self.children[name]
            _close(child)
            self.next_search = 0.0
            run, place = self.runs[name], self.folder.place(self.runs[name])
            if not place.finished and self._mark(run) == self.earlier[name]:
                if place.standing(run).state is State.RUNNING:
                    self.waiting.append(run)
                    continue
                place.fail(_ending(child.returncode, place.log))
            self._end(place.standing(run))

    def start(self) -> None:
        """Begin runs where processes are free; nothing is asked of the disk while there is no hope."""
        if len(self.children) >= self.share.processes or not self.waiting or time.monotonic() < self.next_search:
            return
        self.next_search = time.monotonic() + BETWEEN_SEARCHES
        elsewhere = set()
        for run in list(self.waiting):
            if len(self.children) >= self.share.processes:
                break
            standing = self.folder.place(run).standing(run)
            if standing.state is State.RUNNING:
                elsewhere.add(run.fingerprint)
                continue
            self.waiting.remove(run)
            made = standing.state is State.FINISHED
            if made or (standing.state is State.FAILED and self._mark(run) != self.earlier[run.fingerprint]):
                self._end(standing)
            else:
                self.children[run.fingerprint] = self._started(run)
        self.elsewhere = elsewhere

    def _started(self, run: PlannedRun) -> subprocess.Popen[bytes]:
        place = self.folder.place(run)
        place.path.mkdir(parents=True, exist_ok=True)
        # -P keeps the current folder off the path: a tokenizers.py that lies there is not ours to run.
        words = [sys.executable, "-P", "-m", "heedful", *run_words(self.plan, run, self.folder, self.share.threads)]
        with open_log(place.log) as log:
            # A session of its own: Ctrl-C is this process's to pass on, so that nobody gets it twice.
            return subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, FOLLOWS: "1"},
                start_new_session=True,
            )

    def _mark(self, run: PlannedRun) -> str | None:
        failed = self.folder.place(run).failed()
        return None if failed is None else failed[1]

    def _end(self, standing: Standing) -> None:
        self.over[standing.run.fingerprint] = standing
        self.ended(standing)


def _ending(code: int, log: Path) -> str:
    """Why a process ended that wrote no reason down itself."""
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        return f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    lines = _end_of(log).decode("utf-8", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f"exit code {code}" + (f": {escaped(last.removeprefix('error: '))}" if last else "")


def _end_of(log: Path) -> bytes:
    with open_regular(log, follow=False) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
        return file.read(4096)


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Let processes leave with a whole checkpoint; whoever does not is ended."""
    for child in children:
        child.terminate()
    until = time.monotonic() + GRACE
    for child in children:
        try:
            child.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        _close(child)


def _close(child: subprocess.Popen[bytes]) -> None:
    """The end of the pipe whose closing tells a process to leave."""
    if child.stdin is not None:
        child.stdin.close()
