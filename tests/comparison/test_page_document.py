import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from tests.comparison import comparisons
from tests.evaluation.page import factory

from heedful.comparison.page_document import comparison_html, comparison_json, comparison_junit


def test_the_document_holds_everything() -> None:
    document = json.loads(comparison_json(comparisons.comparison()))
    assert document["schema"] == "heedful.comparison/1"
    assert document["failed"] is True and document["fail_on"] == ["verdict"]
    first = document["findings"][0]
    assert first["verdicts"] == ["PASS", "WARN"] and first["estimates"] == [1.0, 0.5]
    assert first["interval"] == [-0.7, -0.3] and first["paired"] is True and first["p_adjusted"] == 0.003
    assert document["findings"][2]["verdicts"] == [None, "WARN"]
    assert document["heads"][0]["differences"] == {"effective_keys": 4.25, "sink_mass": None, "previous_mass": -0.25}
    assert document["head_verdicts"] == {"previous_token": {"changed": 2, "heads": 24}}
    assert document["context"] == [{"what": "model: name", "before": "old", "after": "new"}]


@pytest.mark.parametrize("token", factory.HOSTILE.values())
def test_no_token_acts_in_the_text(token: str) -> None:
    text = comparison_json(comparisons.comparison(token))
    assert text.isascii() and not set("<>&") & set(text)
    json.loads(text)


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


def cases(data: bytes) -> dict[str, ElementTree.Element]:
    return {str(case.get("name")): case for case in ElementTree.fromstring(data).iter("testcase")}


@pytest.mark.parametrize("token", [*factory.HOSTILE.values(), "\ufffe\uffff", "]]>", "&amp;", "a\nb"])
def test_every_text_is_well_formed(token: str) -> None:
    assert len(cases(comparison_junit(comparisons.comparison(token)))) == 4


def test_regressions_that_were_asked_for_are_failures() -> None:
    found = cases(comparison_junit(comparisons.comparison()))
    failure = found["own_text_matters"][0]
    assert (failure.tag, failure.get("type")) == ("failure", "regression: verdict")
    assert "PASS -> WARN" in (failure.text or "") and "[-0.700, -0.300]" in (failure.text or "")
    assert found["extra"][0].tag == "failure"
    calm = cases(comparison_junit(comparisons.comparison(fail_on=("never",))))
    assert [case[0].tag for case in calm.values()] == ["system-out", "system-out", "skipped", "system-out"]


def test_a_rule_that_could_not_be_judged_is_a_failure_of_its_own() -> None:
    message = "effect: could not be judged: not paired"
    found = cases(comparison_junit(comparisons.comparison(regressions=[message], fail_on=("effect",))))
    assert (found["effect"][0].tag, found["effect"][0].text) == ("failure", message)
