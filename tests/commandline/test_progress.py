import io
import re
from typing import TextIO

import pytest
from tests.reporting import screen

from heedful.commandline.progress import progress_bar


def drawn(patience: float, monkeypatch: pytest.MonkeyPatch, terminal: str = "xterm-256color") -> str:
    monkeypatch.setenv("TERM", terminal)

    def work(stream: TextIO) -> None:
        with progress_bar(True, stream, patience) as progress:
            for done in range(4):
                progress(done, 3, "null [red]model\x1b[2J")
        stream.write("end")

    return screen.shown(work)


def test_a_long_work_is_drawn_and_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(0.0, monkeypatch)
    assert "null [red]model\\x1b[2J" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert "3/3" in text
    assert "None" not in text
    assert "\x1b[2J" not in text
    assert text.endswith("\x1b[2Kend")


def test_a_short_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(60.0, monkeypatch) == "end"


@pytest.fixture(autouse=True)
def _progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEEDFUL_PROGRESS", raising=False)


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(0.0, monkeypatch, terminal="dumb")
    assert text.endswith("null [red]model\\x1b[2J (3 steps)\nend") and text.count("null") == 1


def test_a_log_gets_a_line_for_each_phase() -> None:
    stream = io.StringIO()
    with progress_bar(True, stream, 0.0) as progress:
        for what, total in (("measuring", 3), ("loss", 1)):
            for done in range(total + 1):
                progress(done, total, what)
    assert [line.split("s  ")[1] for line in stream.getvalue().splitlines()] == ["measuring (3 steps)", "loss (1 step)"]


def test_short_work_and_work_that_is_not_shown_write_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for shown, patience, switch in ((True, 60.0, ""), (False, 0.0, ""), (True, 0.0, "off")):
        monkeypatch.setenv("HEEDFUL_PROGRESS", switch)
        stream = io.StringIO()
        with progress_bar(shown, stream, patience) as progress:
            progress(1, 2, "x")
        assert stream.getvalue() == ""


def test_an_error_wipes_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")

    def stopped(stream: TextIO) -> None:
        with progress_bar(True, stream, 0.0) as progress:
            progress(1, 2, "x")
            raise KeyboardInterrupt

    def work(stream: TextIO) -> None:
        with pytest.raises(KeyboardInterrupt):
            stopped(stream)

    assert screen.shown(work).endswith("\x1b[2K")
