from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from tests.comparison import comparisons
from tests.evaluation.page import factory

from heedful.comparison.page_document import comparison_markdown
from heedful.evaluation.page.junit import cell, junit, markdown
from heedful.evaluation.result import Section
from heedful.inference.verdict import Verdict


def report_of(*findings: object) -> object:
    return factory.small(sections=[Section(number=1, title="Correctness", findings=findings)])


def cases(data: bytes) -> dict[str, ElementTree.Element]:
    return {str(case.get("name")): case for case in ElementTree.fromstring(data).iter("testcase")}


@pytest.mark.parametrize(
    ("verdict", "tag"),
    [
        ("PASS", "system-out"),
        ("WARN", "system-out"),
        ("ABSENT", "system-out"),
        ("INFO", "system-out"),
        ("FAIL", "failure"),
        ("ERROR", "error"),
        ("SKIP", "skipped"),
        ("UNDEFINED", "skipped"),
        ("INSUFFICIENT DATA", "skipped"),
    ],
)
def test_a_verdict_and_its_reason(verdict: str, tag: str) -> None:
    case = cases(junit(report_of(factory.finding(verdict=verdict, reason="So it is."))))["rows_sum_to_one"]
    assert [child.tag for child in case] == [tag]
    assert case[0].text == f"{verdict}: So it is."
    if tag != "system-out":
        assert case[0].get("message") == f"{verdict}: So it is."


def test_one_case_a_check_and_counts_that_add_up() -> None:
    report = factory.realistic()
    root = ElementTree.fromstring(junit(report))
    names = [str(case.get("name")) for case in root.iter("testcase")]
    assert names == [c for s in report.sections for c in dict.fromkeys(f.claim for f in s.findings)]
    assert root.tag == "testsuites" and len(root) == 9
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert (
            int(root.get(name, "-1")) == sum(int(suite.get(name, "-1")) for suite in root) == len(list(root.iter(tag)))
        )
    assert int(root.get("failures", "0")) > 0


def test_a_broken_layer_breaks_its_claim() -> None:
    layer = factory.finding(verdict="ERROR", reason="No gradient.", layer=2)
    case = cases(junit(report_of(factory.finding(), layer)))["rows_sum_to_one"]
    assert (case[0].tag, case[0].text) == ("error", "layer 2: ERROR: No gradient.")


def test_a_head_alone_breaks_nothing() -> None:
    head = factory.finding(verdict="ERROR", reason="x", layer=2, head=1)
    assert cases(junit(report_of(factory.finding(), head)))["rows_sum_to_one"][0].tag == "system-out"


@pytest.mark.parametrize("token", [*factory.HOSTILE.values(), "\ufffe\uffff", "]]>", "&amp;", "a\nb"])
def test_every_text_is_well_formed_and_shown(token: str) -> None:
    case = cases(junit(report_of(factory.finding(verdict="FAIL", reason=f"seen {token} there"))))["rows_sum_to_one"]
    message = case[0].text or ""
    assert message.startswith("FAIL: seen ") and message.endswith(" there")
    assert all(character.isprintable() or character == "\n" for character in message)


def test_equal_reports_give_equal_bytes_and_a_declaration() -> None:
    assert junit(factory.realistic()) == junit(factory.realistic())
    assert junit(factory.small()).startswith(b"<?xml version='1.0' encoding='utf-8'?>\n<testsuites name=\"heedful\"")


ACTING = {
    **factory.HOSTILE,
    "link": "[x](https://example.org)",
    "auto": "https://example.org and www.example.org and <https://example.org>",
    "image": "![x](y)",
    "row": "a | b\n| c | d |",
    "code": "`x` ```",
    "mention": "@everyone #1",
    "heading": "# x",
}


def kinds(text: str) -> set[str]:
    """Names of everything that a Markdown reader makes of a text."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    return {one.type for token in tokens for one in (token, *(token.children or []))}


def plain(text: str) -> str:
    tokens = MarkdownIt("commonmark").parse(text)
    return "".join(one.content for token in tokens for one in (token.children or []))


def test_a_report_is_a_heading_a_table_and_the_conclusion() -> None:
    text = markdown(factory.realistic())
    assert "## \u274c Attention of runs/gpt2" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    claims = [f for s in factory.realistic().sections for f in s.findings if f.layer is None and f.head is None]
    assert len(rows) == len(claims) + 2
    assert all(row.count("|") == 7 for row in rows)
    assert "Not measured" in text


def test_what_did_not_pass_is_told_with_its_reason() -> None:
    broken = factory.finding(
        verdict="FAIL", reason="Rows sum to 1.1.", estimate=0.1, interval=(0.0, 0.2), unit="mass", n=9
    )
    layer = factory.finding(verdict="ERROR", reason="Layer is broken.", layer=3)
    sections = [Section(number=1, title="Correctness", findings=[broken, layer, factory.finding(head=0, layer=0)])]
    text = markdown(factory.small(verdict=Verdict.FAIL, sections=sections))
    assert "rows&#95;sum&#95;to&#95;one: Rows sum to 1.1." in text and "layer 3: Layer is broken." in text
    assert "| \u274c | rows&#95;sum&#95;to&#95;one | FAIL | 0.100 mass | &#91;0, 0.200&#93; | 9 |" in text


@pytest.mark.parametrize("text", ACTING.values())
def test_no_text_acts(text: str) -> None:
    assert kinds(cell(text)) <= {"inline", "text", "paragraph_open", "paragraph_close", "text_special"}
    shown = cell(text)
    assert "\n" not in shown and "|" not in shown and "://" not in shown and "www." not in shown and "@" not in shown
    report = factory.small(
        model={"name": text}, summary={"conclusion": text}, not_measured=[{"what": text, "why": text}]
    )
    assert not kinds(markdown(report)) & {"link_open", "image", "code_inline", "html_inline"}
    assert not kinds(comparison_markdown(comparisons.comparison(text))) & {"link_open", "image", "html_inline"}


def test_escaped_text_reads_as_it_was() -> None:
    assert plain(cell("a | *b* <c> [d](e) `f` @g")) == "a | *b* <c> [d](e) `f` @g"


def test_a_comparison_shows_its_regressions_and_what_changed() -> None:
    text = comparison_markdown(comparisons.comparison())
    assert "- **regression** own&#95;text&#95;matters: PASS -&#62; WARN" in text
    assert "PASS to WARN" in text and "paired" in text
    assert "Heads that changed: 1" in text
    quiet = comparison_markdown(comparisons.comparison(findings=[], regressions=[], heads=[], context=[]))
    assert "No verdict changed" in quiet and "<details>" not in quiet
