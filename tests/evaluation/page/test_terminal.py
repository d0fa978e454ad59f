"""The page as a whole. Write the golden page anew, and then read it, with:

HEEDFUL_UPDATE_GOLDEN=1 pytest tests/evaluation/page/test_terminal.py
"""

import io
import os
import re

import pytest
from tests.evaluation.page import factory
from tests.places import TESTS
from tests.reporting import screen

from heedful.evaluation.page.terminal import print_heads, print_report, terminal_text
from heedful.reporting.paragraph import cells

GOLDEN = TESTS / "golden" / "terminal_80.txt"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_the_page_is_the_golden_page() -> None:
    page = terminal_text(factory.realistic(), columns=80)
    if os.environ.get("HEEDFUL_UPDATE_GOLDEN"):
        GOLDEN.write_text(page, encoding="utf-8")
    assert page == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_lines_fit_and_encode(columns: int, encoding: str) -> None:
    page = terminal_text(factory.realistic(), columns=columns, encoding=encoding)
    page.encode(encoding)
    assert max(cells(line) for line in page.splitlines()) <= min(columns, 70)
    assert all(line.isprintable() for line in page.split("\n"))


def test_nine_sections_and_the_end_stand_in_order() -> None:
    page = terminal_text(factory.realistic())
    titles = [f"[{number}/9]" for number in range(1, 10)] + [
        "NOT MEASURED",
        "SUMMARY",
        "CONCLUSION",
        "WHAT TO TRY NEXT",
    ]
    places = [page.index(f"\n{title}") for title in titles]
    assert places == sorted(places)


def test_the_ascii_page_says_the_same() -> None:
    drawn = terminal_text(factory.realistic()).split()
    plain = terminal_text(factory.realistic(), encoding="ascii").split()
    words = {word for word in drawn if word.isascii() and word.isupper() and word.isalpha()}
    assert words <= set(plain)


def test_a_section_without_findings_says_so() -> None:
    page = terminal_text(factory.small())
    assert "[1/9] Correctness" in page
    assert "[9/9] not in this report" in page
    assert "- SKIP    nothing of this section was measured" in page


def test_heads_are_not_listed_one_by_one() -> None:
    page = terminal_text(factory.realistic())
    assert page.count("local_bias") == 1
    assert "24 heads: 16 ABSENT, 8 PASS" in page


def test_a_claim_known_by_heads_alone_still_shows() -> None:
    section = factory.Section(number=2, title="Position", findings=[factory.finding("only_heads", layer=0, head=1)])
    assert "          only_heads\n          1 head: 1 PASS\n" in terminal_text(factory.small(sections=[section]))


def test_no_escape_where_the_stream_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    print_report(factory.realistic(), stream)
    assert "\x1b" not in stream.getvalue()


def written_to_a_terminal() -> str:
    return screen.shown(lambda stream: print_report(factory.realistic(), stream))


def test_colour_on_a_terminal_changes_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    text = written_to_a_terminal()
    assert COLOUR.search(text)
    unstyled = COLOUR.sub("", text)
    assert "\x1b" not in unstyled
    assert [line.rstrip() for line in unstyled.splitlines()] == terminal_text(factory.realistic()).splitlines()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_colour_gets_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(name, value)
    assert "\x1b" not in written_to_a_terminal()


def test_the_head_table_alone_lists_every_head() -> None:
    stream = io.StringIO()
    print_heads([factory.head(layer, head) for layer in range(5) for head in range(10)], stream)
    assert sum(line.startswith("  L") for line in stream.getvalue().splitlines()) == 50
    assert "50 heads: 50 weak (100%)" in stream.getvalue()
