"""Lines reach any stream as plain text, and a terminal that wants colour in colour."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reporting import screen

from heedful.reporting.paragraph import (
    BLANK,
    COLUMNS,
    MEASURE,
    NARROWEST,
    aligned,
    cells,
    clip,
    flow,
    fold,
    line,
    listed,
    paragraph,
    plain,
    print_lines,
    sheet,
    stream_sheet,
)


def test_a_wide_character_fills_two_cells() -> None:
    assert cells("\u6ce8\u610f") == 4
    assert aligned("\u6ce8", 4) == "\u6ce8  "
    assert aligned("ab", 4, right=True) == "  ab"


@given(st.text("ab \u6ce8", max_size=80), st.integers(4, 30))
def test_folded_lines_fit_and_keep_every_word(text: str, width: int) -> None:
    folded = fold(text, width)
    assert all(cells(row) <= width for row in folded)
    assert "".join(folded).replace(" ", "") == text.replace(" ", "")


def test_pieces_break_only_between_them() -> None:
    assert flow(["n = 48", "p = 0.05"], "  ", 10) == ["n = 48", "p = 0.05"]
    assert flow(["n = 48", "p = 0.05"], "  ", 20) == ["n = 48  p = 0.05"]
    assert flow(["one two three"], "  ", 8) == ["one two", "three"]
    assert listed(["L0H1 2.9", "L0H2 1.1"], 10) == ["L0H1 2.9,", "L0H2 1.1"]
    assert listed([], 10) == []


def test_a_paragraph_is_indented_after_its_first_line() -> None:
    lines = paragraph("one two three", 10, indent="   ", first=" - ")
    assert plain(lines) == " - one two\n   three\n"
    assert paragraph("", 10) == []


def test_clipping_counts_cells() -> None:
    assert clip("abcdef", 4, "\u2026") == "abc\u2026"
    assert clip("abcdef", 6, "\u2026") == "abcdef"
    assert cells(clip("\u6ce8\u610f\u529b", 4, "\u2026")) <= 4


def test_plain_drops_style_and_trailing_space() -> None:
    assert plain([line("a  ", "bold"), BLANK]) == "a\n\n"


@pytest.mark.parametrize(
    ("columns", "width"), [(80, MEASURE), (200, MEASURE), (60, 60), (10, NARROWEST), (0, NARROWEST)]
)
def test_a_sheet_is_no_wider_than_the_rule(columns: int, width: int) -> None:
    assert sheet(columns, "utf-8").width == width


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
