from __future__ import annotations

import math

import pytest
from tests.comparison.reports import NAMES, finding, head, report, values

import heedful
from heedful.comparison.compare import check_rules, compare, rules_broken, sentence
from heedful.comparison.page_document import comparison_document, comparison_html, comparison_junit, comparison_markdown
from heedful.comparison.page_lines import comparison_text
from heedful.comparison.record import FindingChange
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
    lost = report(finding(units=[value - 0.9 for value in ours], verdict="WARN"))
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


@pytest.mark.parametrize("verdict", ["WARN", "FAIL", "ABSENT", "ERROR"])
def test_another_definition_is_no_regression(verdict: str) -> None:
    before = report(finding(units=values(1.0)), finding(claim="kept"))
    after = report(finding(units=values(0.0), verdict=verdict, definition=2), finding(claim="kept"))
    found = compare(before, after, fail_on=["verdict", "effect"])
    assert not found.failed
    change = found.findings[0]
    assert change.redefined and change.difference is None and change.p is None
    assert change.reason == "DEFINITION CHANGED: definition 1 of the claim, then 2"
    for text in (comparison_text(found), comparison_markdown(found), comparison_html(found)):
        assert "DEFINITION CHANGED" in text or "definition changed" in text
    assert b"DEFINITION CHANGED" in comparison_junit(found)
    assert comparison_document(found)["findings"][0]["definition_changed"] is True
    heads = [report(finding(verdict=one, layer=0, head=0, definition=n)) for one, n in (("PASS", 1), (verdict, 2))]
    assert compare(*heads).head_verdicts == {}


def test_a_pass_lost_to_less_text_is_no_regression() -> None:
    """The same effect on eight documents of 32 is not settled there, and not shown to be smaller."""
    ours = values(0.05, spread=0.05)
    before = report(finding(units=ours))
    for verdict in ("WARN", "INSUFFICIENT DATA", "ABSENT"):
        fewer = report(finding(units=ours[:8], verdict=verdict), names=NAMES[:8])
        found = compare(before, fewer)
        assert not found.failed and found.findings[0].verdicts == ("PASS", verdict)
        larger = report(finding(units=[value + 0.5 for value in ours], verdict=verdict))
        assert not compare(before, larger).failed
    for verdict in ("SKIP", "UNDEFINED"):  # a gate that opens on what it cannot judge is no gate
        assert compare(before, report(finding(units=ours, verdict=verdict))).failed


@pytest.mark.parametrize(
    ("shift", "spread", "answer"),
    [(0.0, 0.01, "EQUIVALENT"), (0.002, 0.004, "EQUIVALENT"), (0.05, 0.02, "DIFFERENT"), (0.0, 0.08, "NOT SETTLED")],
)
def test_each_claim_is_equivalent_different_or_not_settled(shift: float, spread: float, answer: str) -> None:
    ours = values(1.0, spread=0.3)
    theirs = [value + change for value, change in zip(ours, values(shift, spread=spread, seed=1), strict=True)]
    change = compare(report(finding(units=ours)), report(finding(units=theirs))).findings[0]
    assert (change.equivalence, change.within) == (answer, 0.01)
    assert answer in comparison_text(compare(report(finding(units=ours)), report(finding(units=theirs))))
    wide = compare(report(finding(units=ours)), report(finding(units=theirs)), within={"nat/token": 9.0}).findings[0]
    named = compare(report(finding(units=ours)), report(finding(units=theirs)), within={"own_text_matters": 9.0})
    assert wide.equivalence == named.findings[0].equivalence == "EQUIVALENT"
    with pytest.raises(UsageError, match="expected a positive number"):
        compare(report(), report(), within={"mass": 0.0})


def change(before: str | None, after: str | None, layer: int | None = None, **more: object) -> FindingChange:
    pair = [None if verdict is None else finding(verdict=verdict) for verdict in (before, after)]
    known = {"claim": "own_text_matters", "section": 9, "layer": layer, "before": pair[0], "after": pair[1]}
    return FindingChange(**{**known, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "layer", "rules"),
    [
        ("PASS", "PASS", None, ()),
        ("WARN", "PASS", None, ()),
        ("WARN", "ABSENT", None, ()),
        ("FAIL", "FAIL", None, ()),
        ("ERROR", "FAIL", None, ()),
        ("PASS", "WARN", None, ("verdict",)),
        ("PASS", "SKIP", None, ("verdict",)),
        ("PASS", None, None, ("verdict",)),
        ("PASS", "FAIL", None, ("verdict", "fail")),
        ("WARN", "FAIL", None, ("verdict", "fail")),
        (None, "FAIL", None, ("verdict", "fail")),
        ("INFO", "ERROR", 2, ("verdict", "fail")),
        ("PASS", "WARN", 2, ()),
        (None, "PASS", None, ()),
        ("FAIL", None, None, ()),
    ],
)
def test_verdicts_that_are_regressions(
    before: str | None, after: str | None, layer: int | None, rules: tuple[str, ...]
) -> None:
    assert rules_broken(change(before, after, layer), 1.0) == rules


SMALLER = {"paired": True, "interval": (-0.05, -0.02), "margin": 0.01, "p_adjusted": 0.01, "difference": -0.03}


@pytest.mark.parametrize(
    ("more", "tolerance", "broken"),
    [
        ({}, 1.0, True),
        ({}, 2.1, False),
        ({"interval": (0.02, 0.05)}, 1.0, False),
        ({"interval": (-0.05, -0.009)}, 1.0, False),
        ({"interval": (-0.05, -0.009)}, 0.5, True),
        ({"paired": False}, 1.0, False),
        ({"p_adjusted": 0.06}, 1.0, False),
        ({"margin": None}, 1.0, False),
        ({"interval": None}, 1.0, False),
    ],
)
def test_an_effect_is_smaller_by_the_whole_interval_and_beyond_its_margin(
    more: dict[str, object], tolerance: float, broken: bool
) -> None:
    assert rules_broken(change("PASS", "PASS", **{**SMALLER, **more}), tolerance) == (("effect",) if broken else ())


def test_a_description_has_no_worse_side() -> None:
    assert rules_broken(change("INFO", "INFO", **SMALLER), 0.0) == ()


def test_a_sentence_tells_the_rules_that_were_asked_for_alone() -> None:
    lost = change("PASS", "WARN", regressions=("verdict",))
    assert sentence(lost, ("verdict",)) == "own_text_matters: PASS -> WARN: because"
    assert sentence(lost, ("fail",)) == ""
    smaller = change("PASS", "PASS", regressions=("effect",), unit="nat", **SMALLER)
    assert (
        sentence(smaller, ("verdict", "effect")) == "own_text_matters: smaller by 0.03 nat, difference [-0.05, -0.02]"
    )
    gone = change("PASS", None, regressions=("verdict",))
    assert sentence(gone, ("verdict",)) == "own_text_matters: PASS -> not in the report"


@pytest.mark.parametrize(
    ("rules", "tolerance"),
    [(("slower",), 1.0), ((), 1.0), (("never", "fail"), 1.0), (("fail",), -1.0), (("fail",), float("nan"))],
)
def test_rules_that_make_no_sense_are_refused(rules: tuple[str, ...], tolerance: float) -> None:
    with pytest.raises(UsageError):
        check_rules(rules, tolerance)
