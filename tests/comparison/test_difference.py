"""Two one-sided tests: how often they say EQUIVALENT of a difference as large as the margin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from tests.comparison.reports import NAMES, finding, report, values

from heedful.comparison.difference import (
    Difference,
    Equivalence,
    answer,
    difference_of,
    pair_documents,
    paired_p,
    unpaired_p,
)
from heedful.evaluation.result import Finding
from heedful.inference.mean_interval import mean_interval

PAIRED = pair_documents(report(), report())


def difference(before: Finding | None, after: Finding | None, names: object = NAMES) -> Difference:
    pairing = pair_documents(report(), report(names=names))  # type: ignore[arg-type]
    return difference_of(before, after, pairing, seed=0)


def test_a_shift_of_every_document_alike_is_found_however_much_documents_differ() -> None:
    ours = values(1.0, spread=5.0)
    found = difference(finding(units=ours), finding(units=[value - 0.1 for value in ours]))
    assert found.paired and found.n == 32
    assert found.estimate == pytest.approx(-0.1)
    assert found.interval == pytest.approx((-0.1, -0.1))
    assert found.p == pytest.approx(1 / 20_000)


def test_an_interval_of_pairs_is_that_of_their_differences() -> None:
    ours, change = values(1.0, spread=5.0), values(0.4, spread=1.0, seed=1)
    found = difference(finding(units=ours), finding(units=[a + d for a, d in zip(ours, change, strict=True)]))
    expected = mean_interval(change)
    assert found.estimate == pytest.approx(0.4)
    assert found.interval == pytest.approx((float(expected.low), float(expected.high)))
    assert found.p == pytest.approx(float(ttest_1samp(change, 0.0).pvalue), abs=0.02)


def test_equal_values_differ_by_nothing() -> None:
    found = difference(finding(units=values(1.0)), finding(units=values(1.0)))
    assert (found.estimate, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)


def test_pairs_follow_names_and_pass_over_documents_without_a_value() -> None:
    ours: list[float | None] = list(values(2.0))
    theirs = [None if value is None else value + 1.0 for value in ours][::-1]
    ours[3] = theirs[5] = None
    found = difference(finding(units=ours), finding(units=theirs), NAMES[::-1])
    assert found.n == 30
    assert found.estimate == pytest.approx(1.0)


def test_a_log_scale_gives_a_ratio_at_the_level_of_the_first() -> None:
    ours = [float(np.exp(value)) for value in values(0.0)]
    log = {"detail": {"scale": "log"}}
    before = finding(units=ours, **log)
    after = finding(units=[2.0 * value for value in ours], **log)
    found = difference(before, after)
    assert found.estimate == pytest.approx(1.0, rel=1e-6)  # geometric means: 1, then 2
    assert found.interval == pytest.approx((1.0, 1.0), rel=1e-6)


def test_another_strongest_head_is_told() -> None:
    before = finding(units=values(1.0), detail={"strongest": "L0H1"})
    after = finding(units=values(1.1), detail={"strongest": "L2H3"})
    assert difference(before, after).reason == "strongest head L0H1, then L2H3"


def test_without_shared_documents_both_intervals_speak() -> None:
    found = difference(finding(units=values(1.0)), finding(units=values(3.0, seed=1)), None)
    half = math.sqrt(2) * 2.04 / math.sqrt(32)
    assert not found.paired
    assert found.interval == pytest.approx((2.0 - half, 2.0 + half))
    assert found.p is not None and found.p < 1e-6


def test_skewed_intervals_keep_their_skew() -> None:
    before = finding(estimate=1.0, interval=(0.9, 1.3), n=20)
    after = finding(estimate=2.0, interval=(1.6, 2.1), n=20)
    found = difference(before, after)
    assert found.interval == pytest.approx((1.0 - math.hypot(0.4, 0.3), 1.0 + math.hypot(0.1, 0.1)))
    assert found.reason == "not paired: the reports hold no values by document"


def test_the_unpaired_p_is_that_of_an_interval_that_ends_at_zero() -> None:
    before = finding(estimate=0.0, interval=(-3.0, 3.0), n=20)
    after = finding(estimate=5.0, interval=(1.0, 9.0), n=20)
    assert difference(before, after).p == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, finding(units=values(1.0)), "in one of the two reports only"),
        (finding(units=values(1.0), unit="nat"), finding(units=values(1.0), unit="mass"), "another unit: nat and mass"),
        (finding(estimate=None), finding(estimate=1.0), "no estimate"),
        (
            finding(detail={"signature": "content"}),
            finding(detail={"signature": "unused"}),
            "signature: content, then unused",
        ),
        (
            finding(detail={"signature": "content"}),
            finding(detail={"signature": "content"}),
            "signature: content in both",
        ),
        (finding(estimate=math.nan), finding(estimate=1.0), "no estimate"),
    ],
)
def test_what_cannot_be_compared_says_why(before: Finding | None, after: Finding, said: str) -> None:
    found = difference(before, after)
    assert found.interval is None and found.p is None
    assert said in found.reason


def test_exact_values_have_a_difference_and_no_interval() -> None:
    found = difference(finding(estimate=1e-7, n=8), finding(estimate=1e-2, n=9))
    assert (found.interval, found.p, found.n) == (None, None, 8)
    assert found.estimate == pytest.approx(1e-2 - 1e-7)


def test_an_undefined_bound_gives_no_interval() -> None:
    found = difference(finding(estimate=1.0, interval=(math.nan, 2.0)), finding(estimate=1.0, interval=(0.0, 2.0)))
    assert found.interval is None


def test_paired_intervals_cover_as_promised() -> None:
    """Of 200 comparisons whose true difference is 0, about 5 % exclude it."""
    random = np.random.default_rng(5)
    missed = 0
    for _ in range(200):
        ours = random.standard_normal(32)
        found = difference(finding(units=list(ours)), finding(units=list(ours + random.standard_normal(32))))
        missed += found.interval is not None and not found.interval[0] <= 0 <= found.interval[1]
    assert 2 <= missed <= 22


def test_documents_are_paired_by_name_and_not_by_place() -> None:
    found = pair_documents(report(), report(names=NAMES[::-1]))
    assert found.enough
    assert found.before == tuple(range(32))
    assert found.after == tuple(range(31, -1, -1))
    assert found.sentence == "paired by document: 32 documents are in both reports (32 and 32)"


def test_the_shared_ones_alone_are_paired() -> None:
    found = pair_documents(report(), report(names=NAMES[10:]))
    assert (found.before, found.after) == (tuple(range(10, 32)), tuple(range(22)))


def test_copies_are_paired_in_their_order() -> None:
    found = pair_documents(report(names=["a", "a", "b"]), report(names=["b", "a", "a", "a"]))
    assert (found.before, found.after) == ((0, 1, 2), (1, 2, 0))


def test_too_few_shared_documents_are_not_paired_and_counted() -> None:
    found = pair_documents(report(), report(names=NAMES[17:]))
    assert not found.enough
    assert "15 documents are in both reports (32 and 15), at least 16 are needed" in found.sentence


def test_an_older_report_says_that_it_names_no_documents() -> None:
    assert "not paired: the second report lacks" in pair_documents(report(), report(names=None)).sentence
    assert "not paired: the first report lacks" in pair_documents(report(names=None), report()).sentence
    assert "not paired: both reports lack" in pair_documents(report(names=None), report(names=None)).sentence


TRIALS = 800
RANDOM = np.random.default_rng(0)
WORLDS = {
    "normal": lambda shape: RANDOM.standard_normal(shape),
    "skew 1.7": lambda shape: (np.exp(0.5 * RANDOM.standard_normal(shape)) - math.exp(0.125)) / 0.604,
    "skew 6": lambda shape: (np.exp(RANDOM.standard_normal(shape)) - math.exp(0.5)) / 2.161,
}


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("count", [16, 64])
def test_a_difference_at_the_margin_is_called_equivalent_one_time_in_twenty(
    count: int, world: str, side: float
) -> None:
    margin = 1.0
    draws = WORLDS[world]((TRIALS, count)) + side * margin
    said = np.mean([paired_p(draw, margin) <= 0.05 for draw in draws])
    assert said <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)


def test_no_difference_is_found_equivalent_where_the_text_is_enough() -> None:
    draws = RANDOM.standard_normal((300, 64))
    assert np.mean([paired_p(draw, 0.5) <= 0.05 for draw in draws]) > 0.8
    assert np.mean([paired_p(draw, 0.05) <= 0.05 for draw in draws]) == 0


def test_unpaired_intervals_hold_their_level() -> None:
    said = 0
    for _ in range(TRIALS):
        one, other = RANDOM.standard_normal(64), 1.0 + RANDOM.standard_normal(64)
        a, b = mean_interval(one), mean_interval(other)
        d = float(b.estimate) - float(a.estimate)
        low = d - math.hypot(float(b.estimate - b.low), float(a.high - a.estimate))
        high = d + math.hypot(float(b.high - b.estimate), float(a.estimate - a.low))
        said += unpaired_p(d, low, high, 1.0) <= 0.05
    assert said / TRIALS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)
    assert math.isnan(unpaired_p(0.0, 0.0, 0.0, 1.0))


def test_the_answer_follows_both_p() -> None:
    assert answer(0.01, 0.01) is Equivalence.EQUIVALENT  # a difference, and known to be small
    assert answer(0.2, 0.01) is answer(None, 0.01) is Equivalence.DIFFERENT
    assert answer(0.2, 0.2) is answer(0.2, None) is Equivalence.NOT_SETTLED
    assert answer(None, None) is None
