import io
import os
import pty
import re

import pytest

from heedful.cli.progress import progress_bar


def drawn(patience: float, monkeypatch: pytest.MonkeyPatch, terminal: str = "xterm-256color") -> str:
    monkeypatch.setenv("TERM", terminal)
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding="utf-8") as stream:
        with progress_bar(stream, patience) as progress:
            for done in range(4):
                progress(done, 3, "null [red]model\x1b[2J")
        stream.flush()
        os.write(theirs, b"end")
        text = os.read(ours, 100_000).decode()
    os.close(ours)
    return text


def test_a_long_work_is_drawn_and_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(0.0, monkeypatch)
    assert "null [red]model\\x1b[2J" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert "3/3" in text
    assert "\x1b[2J" not in text
    assert text.endswith("\x1b[2Kend")


def test_a_short_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(60.0, monkeypatch) == "end"


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with progress_bar(stream, 0.0) as progress:
        progress(1, 2, "x")
    assert stream.getvalue() == ""


def test_nothing_is_drawn_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(0.0, monkeypatch, terminal="dumb") == "end"


def test_an_error_wipes_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    stream = open(theirs, "w", encoding="utf-8")  # noqa: SIM115

    def work() -> None:
        with progress_bar(stream, 0.0) as progress:
            progress(1, 2, "x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    stream.close()
    assert os.read(ours, 100_000).endswith(b"\x1b[2K")
    os.close(ours)
