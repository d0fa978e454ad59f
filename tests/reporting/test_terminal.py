"""Lines reach any stream as plain text, and a terminal that wants colour in colour."""

import io

import pytest
from tests.reporting import screen

from heedful.reporting.paragraph import line
from heedful.reporting.terminal import COLUMNS, print_lines, stream_sheet

LINES = [line("as it is"), line("told", "bold green")]


def written_to_a_terminal() -> str:
    return screen.shown(lambda stream: print_lines(LINES, stream))


def test_no_escape_where_the_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    print_lines(LINES, stream)
    assert stream.getvalue() == "as it is\ntold\n"


def test_a_terminal_that_wants_colour_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    plain, styled = written_to_a_terminal().splitlines()
    assert plain == "as it is" and styled.startswith("\x1b[") and "told" in styled


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_colour_gets_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(name, value)
    assert "\x1b" not in written_to_a_terminal()


def test_the_sheet_is_as_wide_as_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    assert stream_sheet(io.StringIO()).width == 44
    assert stream_sheet(io.StringIO()).encoding == "ascii"
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("sys.__stdout__", None)
    assert stream_sheet(io.StringIO()).width <= COLUMNS
