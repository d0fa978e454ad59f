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


def test_nothing_is_drawn_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(0.0, monkeypatch, terminal="dumb") == "end"


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with progress_bar(True, stream, 0.0) as progress:
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
