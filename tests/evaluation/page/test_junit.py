from xml.etree import ElementTree

import pytest
from tests.evaluation.page import factory

from heedful.evaluation.page.junit import junit
from heedful.evaluation.result import Section


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
