import math

import pytest
from tests.evaluation.page import factory

from heedful.evaluation.page.finding_lines import NAMED, finding_lines, head_tally
from heedful.reporting.paragraph import Sheet, plain

PAGE = Sheet(70)


def test_a_finding_shows_claim_reason_and_numbers() -> None:
    finding = factory.finding(
        "local_bias",
        "PASS",
        "Nearby keys get more.",
        estimate=1.62,
        interval=(1.41, 1.88),
        unit="ratio",
        n=48,
        null="shuffled tokens",
        p=0.005,
        p_adjusted=0.02,
        threshold=1.25,
    )
    assert plain(finding_lines(finding, PAGE)) == (
        "\u2713 PASS    local_bias\n"
        "          Nearby keys get more.\n"
        "          1.62 ratio  95% [1.41, 1.88]  margin 1.25  n = 48\n"
        "          p = 0.0050; adjusted p = 0.020; null: shuffled tokens\n"
    )


def test_absent_numbers_leave_no_trace() -> None:
    assert plain(finding_lines(factory.finding("a", "SKIP", "Why."), PAGE)) == "- SKIP    a\n          Why.\n"
    undefined = plain(finding_lines(factory.finding("a", "UNDEFINED", "Why.", estimate=math.nan, unit="nat"), PAGE))
    assert "estimate undefined" in undefined


def test_a_finding_ends_with_what_its_claim_means_unless_it_was_skipped() -> None:
    meaning = "Near keys outweigh far ones."
    shown = plain(finding_lines(factory.finding("a", "PASS", "Why.", meaning=meaning), PAGE))
    assert shown.endswith("          Why.\n          Meaning: Near keys outweigh far ones.\n")
    assert "Meaning" not in plain(finding_lines(factory.finding("a", "SKIP", "Why.", meaning=meaning), PAGE))


def test_few_heads_are_named_and_the_rest_counted() -> None:
    named = [f"L0H{index}" for index in range(NAMED + 3)]
    shown = plain(finding_lines(factory.finding(detail={"named": named}), PAGE))
    assert f"L0H{NAMED - 1}, \u2026 and 3 more" in shown
    assert f"L0H{NAMED}" not in shown


@pytest.mark.parametrize("named", ["L0H1", 5, None, [], {"L0H1": 1}])
def test_a_named_entry_of_another_kind_is_passed_over(named: object) -> None:
    assert "heads:" not in plain(finding_lines(factory.finding(detail={"named": named}), PAGE))


def test_heads_are_counted_and_failures_named() -> None:
    heads = [factory.finding(verdict="PASS", layer=0, head=index) for index in range(10)]
    heads.append(factory.finding(verdict="FAIL", layer=1, head=3))
    assert plain(head_tally(heads, PAGE)) == "          11 heads: 10 PASS, 1 FAIL\n          FAIL: L1H3\n"
    assert head_tally([], PAGE) == []
