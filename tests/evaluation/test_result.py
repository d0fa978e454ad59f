"""Records that rooms hand on."""

import dataclasses

import pytest

from heedful.evaluation.result import Finding, HeadRow, Report, Section
from heedful.inference.verdict import Verdict


def test_verdicts_are_their_words() -> None:
    assert str(Verdict.INSUFFICIENT) == "INSUFFICIENT DATA"
    assert {v.value for v in Verdict} >= {"PASS", "FAIL", "WARN", "UNDEFINED", "SKIP", "ERROR", "INFO", "ABSENT"}


def test_a_finding_needs_claim_verdict_and_reason_alone() -> None:
    finding = Finding(claim="rows_sum_to_one", verdict=Verdict.PASS, reason="they do")
    assert finding.estimate is finding.interval is finding.p is finding.layer is None
    assert finding.detail == {} and finding.n == 0
    with pytest.raises(TypeError):
        Finding("rows_sum_to_one", Verdict.PASS, "they do")  # type: ignore[misc]


@pytest.mark.parametrize("record", [Finding, Section, HeadRow, Report])
def test_records_are_frozen(record: type) -> None:
    assert record.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert all(field.kw_only for field in dataclasses.fields(record))
