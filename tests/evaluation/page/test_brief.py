"""The short page: at most 25 lines of 80 columns, the verdict first, what failed before what is open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.page import factory
from typer.testing import CliRunner

from heedful.app import app
from heedful.evaluation.page.brief import LONGEST, brief_text
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.terminal import terminal_text
from heedful.evaluation.result import Finding, Report, Section
from heedful.inference.verdict import Verdict


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
