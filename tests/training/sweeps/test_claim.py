"""Claims: one holder at a time, whoever tries; void when given up, ended or silent; never taken by two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from heedful.errors import OutputError
from heedful.training.sweeps.claim import ClaimLost, Held, claimed, holder


def write(folder: Path, number: int, age: float = 0.0, **facts: object) -> Path:
    path = folder / f"claim-{number:06d}"
    path.write_text(json.dumps(facts))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_one_holds_and_the_next_may_when_it_is_given_up(tmp_path: Path) -> None:
    assert holder(tmp_path) is None and holder(tmp_path / "absent") is None
    with claimed(tmp_path) as claim:
        claim.check()
        assert holder(tmp_path) == f"{os.uname().nodename}, process {os.getpid()}"
        with pytest.raises(Held, match=f"made by .*process {os.getpid()}, nothing was done"), claimed(tmp_path):
            raise AssertionError("claimed twice")
    assert holder(tmp_path) is None
    with claimed(tmp_path):
        pass
    with pytest.raises(RuntimeError), claimed(tmp_path):
        raise RuntimeError
    assert holder(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"claim-00000{n}" for n in (1, 2, 3)]


def test_of_many_that_try_at_once_one_succeeds(tmp_path: Path) -> None:
    begin, done, held = threading.Barrier(8), threading.Barrier(8), []

    def take() -> None:
        begin.wait()
        try:
            with claimed(tmp_path):
                held.append(True)
                done.wait()
        except Held:
            held.append(False)
            done.wait()

    for stale in (False, True):
        held.clear()
        if stale:
            write(tmp_path, 7, age=1000, host="far", pid=1, place="elsewhere")
        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(held) == [False] * 7 + [True]


@pytest.mark.parametrize(("age", "held"), [(0, True), (170, True), (190, False)])
def test_another_machine_holds_until_it_has_been_silent_for_long(age: float, held: bool, tmp_path: Path) -> None:
    write(tmp_path, 1, age=age, host="far", pid=1, place="elsewhere")
    assert holder(tmp_path) == ("far, process 1" if held else None)


def test_the_clock_is_that_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1, host="far", pid=1, place="elsewhere")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 9999)
    assert holder(tmp_path) == "far, process 1"


def test_a_process_of_this_machine_that_has_ended_holds_nothing(tmp_path: Path) -> None:
    from heedful.training.sweeps.claim import _place

    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        write(tmp_path, 1, host="here", pid=os.getppid(), place=_place())
        assert holder(tmp_path) is not None
    write(tmp_path, 1, host="here", pid=child.pid, place=_place())
    assert holder(tmp_path) is None
    write(tmp_path, 1, host="here", pid=child.pid, place="another space of processes")
    assert holder(tmp_path) is not None


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\xff"])
def test_a_claim_that_is_not_filled_yet_is_held(content: str, tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    path.write_bytes(content.encode("latin-1"))
    assert holder(tmp_path) == "another process"


def test_signs_of_life_are_given_and_a_loss_is_noticed(tmp_path: Path) -> None:
    with claimed(tmp_path, beat=0.01) as claim:
        os.utime(claim.path, (1, 1))
        while claim.path.stat().st_mtime < 1000:
            time.sleep(0.005)
        claim.check()
        mine = claim.path.read_text()
        write(tmp_path, 2, host="far", pid=1, place="elsewhere")
        assert claim._lost.wait(30)
        with pytest.raises(ClaimLost, match="another process took over this run"):
            claim.check()
    assert claim.path.read_text() == mine and holder(tmp_path) == "far, process 1"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="make it writable"), claimed(tmp_path):
        pass
