"""From documents by heads to findings."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from tests.evaluation.stub import documents, stub_study

from heedful.evaluation.judging import HeadClaim, head_findings, overall_verdict
from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict

V = Verdict


@pytest.mark.parametrize(
    ("heads", "overall"),
    [
        ([], V.UNDEFINED),
        ([V.UNDEFINED] * 2, V.UNDEFINED),
        ([V.ABSENT] * 2, V.ABSENT),
        ([V.ABSENT, V.UNDEFINED], V.ABSENT),
        ([V.ABSENT, V.INSUFFICIENT], V.INSUFFICIENT),
        ([V.UNDEFINED, V.INSUFFICIENT], V.INSUFFICIENT),
        ([V.ABSENT, V.WARN], V.WARN),
        ([V.INSUFFICIENT, V.WARN], V.WARN),
        ([V.ABSENT, V.WARN, V.PASS], V.PASS),
        ([V.PASS, V.FAIL], V.FAIL),
    ],
)
def test_the_verdict_on_a_model_is_the_weakest_that_holds(heads: list[Verdict], overall: Verdict) -> None:
    for order in itertools.permutations(heads):
        assert overall_verdict(list(order)) is overall


def claim(**more: object) -> HeadClaim:
    known = {
        "claim": "x",
        "what": "the effect",
        "unit": "mass",
        "present_above": 0.4,
        "absent_below": 0.2,
        "source": "s",
    }
    return HeadClaim(**{**known, **more})


def judged(means: list[float], **more: object) -> list[Finding]:
    return head_findings(stub_study(), claim(**more), documents(means))


def test_each_head_is_judged_by_its_own_interval() -> None:
    overall, *heads = judged([0.6, 0.3, 0.1, 0.41])
    assert [f.verdict for f in heads] == [V.PASS, V.WARN, V.ABSENT, V.PASS]
    assert [f.threshold for f in heads] == [0.4, 0.4, 0.2, 0.4]
    assert [(f.layer, f.head) for f in heads] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(f.n == 20 and f.interval is not None and f.interval[0] < f.estimate < f.interval[1] for f in heads)
    assert overall.verdict is V.PASS
    assert overall.detail["named"] == ["L0H0 0.6", "L1H1 0.41"]
    assert overall.reason.startswith("2 of 4 heads show it; strongest L0H0: the effect 0.6 mass; 2 beyond the margin")
    assert overall.detail == {
        **overall.detail,
        "heads": 4,
        "pass": 2,
        "absent": 1,
        "strongest": "L0H0",
        "discoveries": 2,
    }


def test_the_strongest_of_a_pass_is_one_that_passed() -> None:
    """A larger head whose null shows as much does not lend the model its estimate."""
    null = np.random.default_rng(0).normal(size=(19, 4)) * 0.01
    null[:, 0] += 0.9
    tested = np.array([0.9, 0.6, 0.0, 0.0])
    study = stub_study(nulls={"x": null}, tested={"x": tested})
    overall, *heads = head_findings(study, claim(null_name="x"), documents([0.9, 0.6, 0.0, 0.0]))
    assert [f.verdict for f in heads] == [V.WARN, V.PASS, V.ABSENT, V.ABSENT]
    assert "the null shows an effect as large" in heads[0].reason
    assert overall.estimate == pytest.approx(0.6)
    assert overall.null == "19 untrained models of the same config"


def test_without_null_models_nothing_passes() -> None:
    overall, *heads = judged([0.6] * 4, null_name="x")
    assert {f.verdict for f in (overall, *heads)} == {V.WARN}
    assert "descriptive only" in heads[0].reason
    assert overall.null == "not available: no null comparison was requested"
    assert overall.p is None and overall.detail["discoveries"] is None


def test_absence_everywhere_carries_the_margin_it_was_judged_by() -> None:
    overall = judged([0.1, 0.15, 0.1, 0.1])[0]
    assert (overall.verdict, overall.threshold) == (V.ABSENT, 0.2)
    assert overall.reason.startswith("no head reaches the margin; largest L0H1: the effect 0.15 mass")


def test_few_documents_and_undefined_heads() -> None:
    overall, *heads = head_findings(stub_study(), claim(), documents([0.6, 0.1, 0.1, 0.1], count=15))
    assert {f.verdict for f in (overall, *heads)} == {V.INSUFFICIENT}
    assert "15 units; at least 16 are needed" in overall.reason
    units = np.full((20, 4), np.nan)
    overall, *heads = head_findings(stub_study(), claim(), units)
    assert {f.verdict for f in (overall, *heads)} == {V.UNDEFINED}
    units[:, 1] = 0.1
    overall, *heads = head_findings(stub_study(), claim(), units)
    assert [f.verdict for f in heads] == [V.UNDEFINED, V.ABSENT, V.UNDEFINED, V.UNDEFINED]
    assert (overall.verdict, overall.estimate) == (V.ABSENT, pytest.approx(0.1))


def test_a_head_that_differs_in_one_document_alone_is_judged() -> None:
    """One document of twenty differs a little: the interval reaches far to the side of the tail that it shows."""
    units = np.full((20, 4), 0.1)
    units[7] = 0.11
    first = head_findings(stub_study(), claim(), units)[1]
    assert first.verdict is V.ABSENT
    assert first.interval == pytest.approx((0.1005 - 2.093 * 0.0005, 0.1005 + 11.657 * 0.0005), abs=1e-6)


def test_a_head_that_few_documents_define_is_judged_by_those() -> None:
    units = documents([0.6, 0.6, 0.6, 0.6])
    units[:10, 2] = np.nan
    heads = head_findings(stub_study(), claim(), units)[1:]
    assert [f.verdict for f in heads] == [V.PASS, V.PASS, V.INSUFFICIENT, V.PASS]
    assert heads[2].n == 10


def test_logarithms_are_judged_and_plain_numbers_shown() -> None:
    units = np.exp(documents([math.log(0.6), math.log(0.1), 0.0, 0.0], spread=0.3))
    first = head_findings(stub_study(), claim(as_log=True), units)[1]
    assert first.estimate == pytest.approx(0.6)
    assert first.interval is not None
    assert first.interval[0] * first.interval[1] == pytest.approx(0.36, rel=0.1)
    assert "on the log scale" in first.reason


def test_no_concentration_at_all_is_a_number_and_not_an_infinity() -> None:
    overall = head_findings(stub_study(), claim(as_log=True), np.zeros((20, 4)))[0]
    assert overall.verdict is V.ABSENT
    assert overall.estimate == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("estimate", "words"),
    [(math.log(1.25), "a factor of 1.25"), (math.log(4174), "a factor of 4,174"), (2000.0, "a factor of 1.01e+304")],
)
def test_log_ratios_are_shown_as_factors(estimate: float, words: str) -> None:
    assert claim(as_factor=True).shown(estimate) == words


def test_a_unit_is_not_said_twice() -> None:
    assert claim(what="mass on the first key").shown(0.5) == "0.5"
    assert claim().shown(0.5) == "0.5 mass"


WORLDS = {
    "normal": lambda z: z,
    "skew 1.7 below": lambda z: math.exp(0.125) - np.exp(0.5 * z),
    "skew 6 below": lambda z: math.exp(0.5) - np.exp(z),
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("heads", [12, 72, 270])
def test_a_report_whose_heads_are_all_at_the_margin_passes_one_time_in_twenty(heads: int, world: str) -> None:
    """By whole intervals alone 12, 72 and 270 heads would PASS in 11 to 28, 69 to 82 and 94 to 100 % of reports."""
    random, trials, passed, alone = np.random.default_rng(heads), 1200 // heads + 40, 0, 0
    for _ in range(trials):
        units = 0.4 + 0.05 * WORLDS[world](random.standard_normal((64, heads)))
        found = head_findings(stub_study((heads,)), claim(), units)
        passed += found[0].verdict is V.PASS
        alone += any(one.interval is not None and one.interval[0] > 0.4 for one in found[1:])
    assert passed <= 0.05 * trials + 3 * math.sqrt(0.05 * 0.95 * trials)
    assert alone > (0.05 if heads == 12 else 0.5) * trials


def test_a_head_beyond_the_margin_alone_is_not_named_and_the_units_it_takes_are_told() -> None:
    heads = head_findings(stub_study((300,)), claim(), documents([0.41] + [0.1] * 299, spread=0.03, count=64))[1:]
    assert heads[0].verdict is V.WARN and heads[0].interval is not None and heads[0].interval[0] > 0.4
    assert "but not after adjustment for all heads" in heads[0].reason
    needed = int(heads[0].reason.split("about ")[1].split()[0])
    assert 64 < needed < 300
    more = head_findings(stub_study((300,)), claim(), documents([0.41] + [0.1] * 299, spread=0.03, count=2 * needed))
    assert more[0].verdict is V.PASS
