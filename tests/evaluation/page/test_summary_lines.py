from tests.evaluation.page import factory

from heedful.evaluation.page.summary_lines import (
    conclusion_lines,
    heading_lines,
    next_lines,
    not_measured_lines,
    summary_lines,
)
from heedful.evaluation.result import Section
from heedful.inference.verdict import Verdict
from heedful.reporting.paragraph import Sheet, plain

PAGE = Sheet(70)


def test_the_heading_says_what_was_validated() -> None:
    report = factory.small(
        model={
            "name": "a\x1bb",
            "class": "C",
            "layers": 1,
            "heads": 2,
            "parameters": 1234,
            "dtype": "float32",
            "device": "cpu",
            "extra": 0.5,
            "causal": True,
        },
        data={
            "origin": "a.txt",
            "documents": 2,
            "sequences": 3,
            "sequence_length": 16,
            "tokens": 48,
            "nested": {"x": 1},
        },
        settings={"preset": "quick", "seed": 0, "require": ["a", "b"], "margins": {"x": 1}, "none": None, "empty": []},
    )
    assert plain(heading_lines(report, PAGE)) == (
        "Model     a\\x1bb, C, 1 layer, 2 heads, 1,234 parameters,\n"
        "          float32 on cpu, extra 0.5, causal yes\n"
        "Data      a.txt, 2 documents, 3 sequences, 48 tokens, 16 tokens each\n"
        "Settings  preset quick, seed 0, require a b\n"
    )


def test_notes_stand_beneath() -> None:
    report = factory.small(model={"notes": ["one", "two"]}, data={"notes": "three"}, settings={})
    shown = plain(heading_lines(report, PAGE))
    assert shown == "Model     unnamed\nNote      one\nNote      two\nNote      three\n"


def test_gaps_are_listed() -> None:
    shown = plain(
        not_measured_lines(factory.small(not_measured=[{"what": "layer 3", "why": "never reached"}, {}]), PAGE)
    )
    assert shown == "  - layer 3: never reached\n  - ?: no reason given\n"


def test_counts_tests_and_failures() -> None:
    findings = [
        factory.finding("a", p=0.1),
        factory.finding("b", "FAIL", "It is wrong.", layer=2, head=1),
        factory.finding("c", "SKIP"),
    ]
    report = factory.small(sections=[Section(number=1, title="x", findings=findings)])
    shown = plain(summary_lines(report, PAGE))
    assert "\u2713 PASS 1   - SKIP 1" in shown
    assert "1 test made; multiplicity was not controlled." in shown
    assert "\u2717 FAIL    L2H1: b: It is wrong." in shown


def test_a_head_is_not_told_again_where_its_claim_failed() -> None:
    findings = [factory.finding("a", "FAIL"), factory.finding("a", "ERROR", layer=0, head=1)]
    shown = plain(summary_lines(factory.small(sections=[Section(number=1, title="x", findings=findings)]), PAGE))
    assert "L0H1" not in shown


def test_given_counts_and_multiplicity_win() -> None:
    summary = {
        "counts": {"FAIL": 0, "OTHER": 1, "WARN": 2, "PASS": 7},
        "tests": 12,
        "multiplicity": {"named claims": "Holm"},
    }
    shown = plain(summary_lines(factory.small(summary=summary), PAGE))
    assert shown == "  \u2713 PASS 7   ! WARN 2   \u00b7 OTHER 1\n  12 tests made; named claims Holm.\n"


def test_many_failures_are_cut() -> None:
    findings = [factory.finding(f"claim_{index}", "FAIL") for index in range(12)]
    shown = plain(summary_lines(factory.small(sections=[Section(number=1, title="x", findings=findings)]), PAGE))
    assert "and 3 more: --json PATH" in shown


def test_conclusion_and_next() -> None:
    report = factory.small(verdict=Verdict.WARN, summary={"conclusion": "One.\n\nTwo.", "next": ["Do\x1b this."]})
    assert plain(conclusion_lines(report, PAGE)) == "! WARN\n\nOne.\n\nTwo.\n"
    assert plain(next_lines(report, PAGE)) == "1. Do\\x1b this.\n"
    assert "no conclusion" in plain(conclusion_lines(factory.small(summary={}), PAGE))
    assert next_lines(factory.small(summary={}), PAGE) == []
