from __future__ import annotations

import math

import pytest
from tests.comparison.reports import NAMES, finding, head, report, values

import heedful
from heedful.comparison.compare import compare
from heedful.errors import UsageError
from heedful.evaluation.result import Section
from heedful.inference.verdict import Verdict


def test_a_report_against_itself_shows_nothing() -> None:
    one = report(finding(units=values(1.0)), finding(claim="rows_sum_to_one", estimate=1e-7), heads=[head()])
    found = compare(one, one)
    assert not found.failed and not found.context
    assert all(not change.changed for change in found.findings)
    assert [change.difference for change in found.findings] == [0.0, 0.0]
    assert not any(one.changed for one in found.heads)


def test_a_regression_by_verdict_and_by_effect() -> None:
    ours = values(1.0)
    before = report(finding(units=ours))
    after = report(finding(units=[value - 0.5 for value in ours]))
    assert not compare(before, after).failed
    assert compare(before, after, fail_on=["effect"]).failed
    assert not compare(after, before, fail_on=["effect"]).failed
    lost = report(finding(units=ours, verdict="WARN"))
    assert compare(before, lost).regressions == ["own_text_matters: PASS -> WARN: because"]
    assert not compare(before, lost, fail_on=["never"]).failed
    assert not compare(before, lost, fail_on=["fail"]).failed


def test_an_effect_that_cannot_be_judged_is_no_open_gate() -> None:
    one = report(finding(units=values(1.0)), names=None)
    assert not compare(one, report(finding(units=values(1.0)))).failed
    found = compare(one, report(finding(units=values(1.0))), fail_on=["effect"])
    assert found.failed
    assert found.regressions[0].startswith("effect: could not be judged: not paired: the first report lacks the names")


def test_p_values_are_one_holm_family() -> None:
    ours = values(1.0)
    moved = [value + change for value, change in zip(ours, values(0.36, seed=1), strict=True)]
    one = compare(report(finding(units=ours)), report(finding(units=moved))).findings[0]
    names = [f"claim_{index}" for index in range(10)]
    many = compare(
        report(finding(units=ours), *(finding(claim=name, units=ours) for name in names)),
        report(finding(units=moved), *(finding(claim=name, units=ours) for name in names)),
    ).findings[0]
    assert one.p == many.p == one.p_adjusted
    assert many.p_adjusted == pytest.approx(11 * (one.p or math.nan))


def test_claims_layers_and_missing_ones_are_matched() -> None:
    first = report(finding(estimate=1.0), finding(estimate=2.0, layer=0), finding(claim="gone", estimate=1.0))
    second = report(finding(estimate=1.5), finding(estimate=4.0, layer=0), finding(claim="extra", estimate=1.0))
    found = {(one.claim, one.layer): one for one in compare(first, second).findings}
    assert found["own_text_matters", None].difference == 0.5
    assert found["own_text_matters", 0].difference == 2.0
    assert found["gone", None].verdicts == ("PASS", "-")
    assert found["extra", None].verdicts == ("-", "PASS")
    assert [one.layer for one in compare(first, second).findings] == [None, None, None, 0]


def test_what_differs_beside_the_results_is_named() -> None:
    second = report(
        model={"name": "other", "notes": ["x"]},
        settings={"seed": 1, "margins": {"loss": 0.02}},
        versions={},
        data={"fingerprint": "0123456789abcdef", "document_fingerprints": ["a"]},
    )
    assert compare(report(), second).context == [
        ("model: name", "m", "other"),
        ("data: documents", "32", "-"),
        ("data: fingerprint", "f", "0123456789ab"),
        ("settings: seed", "0", "1"),
        ("settings: margins.loss", "0.01", "0.02"),
        ("versions: heedful", "0.1.0", "-"),
    ]


def test_heads_are_compared_by_module_and_index() -> None:
    first = report(heads=[head(0), head(1, verdict="SHARP", pattern="induction"), head(2)])
    second = report(heads=[head(1, effective_keys=4.0), head(0), head(3)])
    found = compare(first, second)
    assert [one.head for one in found.heads] == [0, 1]
    assert [one.changed for one in found.heads] == [False, True]
    assert found.heads[1].verdicts == ("SHARP", "WEAK") and found.heads[1].patterns == ("induction", "")
    assert found.heads[1].differences["effective_keys"] == -6.0
    assert found.heads_reason == "2 heads are in one of the reports only"
    assert compare(first, report()).heads_reason == "no module path and head is in both reports"


def test_heads_whose_verdict_on_a_claim_changed_are_counted() -> None:
    def heads(*verdicts: str) -> list[object]:
        return [finding(verdict=verdict, layer=0, head=index) for index, verdict in enumerate(verdicts)]

    found = compare(report(*heads("PASS", "WARN", "ABSENT")), report(*heads("PASS", "PASS", "WARN")))
    assert found.head_verdicts == {"own_text_matters": (2, 3)}
    assert found.findings == []


def test_empty_reports_are_compared() -> None:
    found = compare(report(sections=[]), report(sections=[Section(number=1, title="x", findings=[])]))
    assert (list(found.findings), found.failed) == ([], False)


def test_the_door_leads_here_and_rules_are_checked() -> None:
    assert heedful.compare(report(), report()) == compare(report(), report())
    with pytest.raises(UsageError, match="fail-on: expected some of verdict, fail, effect, never; got slower"):
        compare(report(), report(), fail_on=["slower"])


def test_a_new_failure_fails_however_it_is_asked() -> None:
    worse = report(finding(verdict="FAIL"), verdict=Verdict.FAIL)
    assert compare(report(names=NAMES), worse, fail_on=["fail"]).failed
    assert compare(report(), worse).failed
