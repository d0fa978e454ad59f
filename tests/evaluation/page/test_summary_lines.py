"""The short page: at most 25 lines of 80 columns, the verdict first, what failed before what is open."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.page import factory
from typer.testing import CliRunner

from heedful.app import app
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.summary_lines import (
    LONGEST,
    NAMED,
    brief_text,
    conclusion_lines,
    finding_lines,
    head_tally,
    heading_lines,
    next_lines,
    not_measured_lines,
    summary_lines,
)
from heedful.evaluation.page.terminal import terminal_text
from heedful.evaluation.result import Finding, Report, Section
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


def report_of(verdicts: list[Verdict], conclusion: str = "Something.") -> Report:
    findings = tuple(
        Finding(claim=f"claim_{place}", verdict=verdict, reason="a long reason " * 20)
        for place, verdict in enumerate(verdicts)
    )
    whole = factory.realistic()
    summary = {**whole.summary, "conclusion": conclusion, "next": ["try this", "and that"]}
    return replace(
        whole,
        verdict=Verdict.FAIL,
        sections=(Section(number=1, title="Correctness", findings=findings),),
        summary=summary,
    )


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_at_most_25_lines_that_fit(columns: int, encoding: str) -> None:
    many = report_of([Verdict.WARN, Verdict.FAIL] * 20, conclusion="A sentence of a conclusion. " * 40)
    for report in (many, factory.realistic()):
        lines = brief_text(report, columns=columns, encoding=encoding).splitlines()
        assert len(lines) <= LONGEST == 25 and max(map(len, lines)) <= min(columns, 80)
        assert lines[0].startswith("ATTENTION VALIDATION") and lines[0].endswith(str(report.verdict))


def test_the_worst_comes_first_and_what_is_left_out_is_counted() -> None:
    text = brief_text(report_of([Verdict.WARN] * 5 + [Verdict.FAIL, Verdict.PASS, Verdict.SKIP] + [Verdict.WARN] * 3))
    rows = [line for line in text.splitlines() if "claim_" in line]
    assert "FAIL" in rows[0] and "claim_5" in rows[0] and len(rows) == 5
    assert "and 4 more: leave out --brief" in text
    assert "claim_6" not in text and "claim_7" not in text


def test_nothing_is_open_where_all_pass() -> None:
    text = brief_text(report_of([Verdict.PASS, Verdict.SKIP]))
    assert "claim_" not in text and "Something." in text and "1. try this" in text


def test_the_command_prints_it(tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    place.write_text(to_json(factory.realistic()))
    shown = CliRunner().invoke(app, ["report", str(place), "--brief"])
    assert shown.exit_code == 0 and 5 < len(shown.stdout.splitlines()) <= 25


def test_a_section_that_does_not_apply_is_one_paragraph_on_the_whole_page() -> None:
    text = " ".join(terminal_text(report_of([Verdict.SKIP, Verdict.SKIP])).split())
    assert text.count("SKIP claim_0, claim_1: a long reason") == 1


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
