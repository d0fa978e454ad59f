from html.parser import HTMLParser

import pytest
from tests.evaluation.page import factory

from heedful.evaluation.page.notebook_html import report_html, table_html
from heedful.evaluation.page.terminal import terminal_text


class Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_whole_terminal_page_is_there_word_for_word() -> None:
    page = Page(report_html(factory.realistic()))
    assert (
        terminal_text(factory.realistic()).split()
        == page.text.split()[-len(terminal_text(factory.realistic()).split()) :]
    )
    assert "FAIL: runs/gpt2" in page.text and page.tags.count("details") == 1


@pytest.mark.parametrize("token", factory.HOSTILE.values())
def test_no_text_becomes_markup(token: str) -> None:
    report = factory.small(model={"name": token}, summary={"conclusion": token}, heads=[factory.head(label=token)])
    page = Page(report_html(report))
    assert set(page.tags) <= {"div", "details", "summary", "b", "pre", "span"}
    assert page.names <= {"class", "style"}
    table = Page(table_html(token, [{"head": token, "n": 1.0}], [token]))
    assert set(table.tags) <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert all(character.isprintable() or character == "\n" for character in page.text + table.text)


def test_a_table_shows_undefined_values_and_counts_what_it_leaves_out() -> None:
    page = Page(table_html("heads", [{"a_b": None, "c": float("nan"), "d": 0.12345}] * 60))
    assert "a b" in page.text and "0.123" in page.text and page.text.count("-") >= 96
    assert "and 12 more rows: session.heads()" in page.text
    assert "table" not in Page(table_html("none", [])).tags
