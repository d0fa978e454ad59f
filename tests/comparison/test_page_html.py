import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from tests.comparison import comparisons
from tests.evaluation.page import factory

from heedful.comparison.page_html import comparison_html


class Page(HTMLParser):
    """Tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_what_changed() -> None:
    text = " ".join(Page(comparison_html(comparisons.comparison())).text.split())
    for said in ("REGRESSION", "old: PASS", "PASS -> WARN", "difference -0.500", "L0H1"):
        assert said in text
    assert "The loss rises by less." in text and "+4.25" in text


def test_the_policy_allows_this_style_and_nothing_else() -> None:
    page = comparison_html(comparisons.comparison())
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"content=\"default-src 'none'; style-src 'sha256-{digest}'\"" in page


@pytest.mark.parametrize("token", factory.HOSTILE.values())
def test_no_text_becomes_markup(token: str) -> None:
    plain, hostile = (
        Page(comparison_html(comparisons.comparison(" x"))),
        Page(comparison_html(comparisons.comparison(token))),
    )
    assert hostile.tags == plain.tags
    names = {name for name, _ in hostile.attributes}
    assert (
        names
        == {name for name, _ in plain.attributes}
        <= {"lang", "charset", "http-equiv", "content", "name", "class", "scope", "tabindex", "role", "aria-label"}
    )
    assert not {"script", "img", "a", "link", "iframe"} & set(hostile.tags)
    assert all(character.isprintable() or character == "\n" for character in hostile.text)


def test_a_comparison_without_heads_or_context() -> None:
    page = Page(comparison_html(comparisons.comparison(context=[], heads=[], regressions=[], findings=[])))
    assert "Nothing: same model facts, text, settings" in page.text and "0 heads in both" in page.text
