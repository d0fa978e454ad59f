import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.inference.interval import Interval, student_t
from heedful.inference.margin import equivalent, judge, minimal_detectable_effect, units_needed
from heedful.inference.verdict import Verdict

NAN, INF = np.nan, np.inf


def judged(estimate, low, high, **changes):
    facts = {"present_above": 0.3, "absent_below": 0.1, "units": 64, **changes}
    return judge(Interval(estimate, low, high, facts["units"], 0.95), **facts)


@pytest.mark.parametrize(
    ("interval", "changes", "verdict", "said"),
    [
        ((0.5, 0.4, 0.6), {}, Verdict.PASS, "0.5 [0.4, 0.6] lies above 0.3"),
        ((0.5, 0.4, 0.6), {"p_adjusted": 0.05}, Verdict.PASS, "adjusted p 0.05"),
        ((0.5, 0.4, 0.6), {"p_adjusted": 0.051}, Verdict.WARN, "the null shows an effect as large"),
        ((0.5, 0.4, 0.6), {"p_adjusted": NAN}, Verdict.WARN, "the null is undefined"),
        ((0.5, 0.4, 0.6), {"null_available": False}, Verdict.WARN, "no null model could be built"),
        ((0.5, 0.3, 0.6), {}, Verdict.WARN, "crosses 0.3"),
        ((0.2, 0.15, 0.25), {}, Verdict.WARN, "does not leave the margin 0.1 to 0.3"),
        ((0.05, 0.0, 0.12), {}, Verdict.WARN, "crosses 0.1"),
        ((0.05, 0.0, 0.1), {}, Verdict.WARN, "crosses 0.1"),
        ((0.05, 0.0, 0.09), {}, Verdict.ABSENT, "lies below 0.1 over 64 units"),
        ((0.05, 0.0, 0.09), {"required": True}, Verdict.FAIL, "the claim was required"),
        ((0.05, 0.0, 0.12), {"required": True}, Verdict.WARN, "inconclusive"),
        ((0.5, 0.4, 0.6), {"units": 15}, Verdict.INSUFFICIENT, "15 units; at least 16 are needed"),
        ((0.05, 0.0, 0.09), {"units": 15, "required": True}, Verdict.INSUFFICIENT, "at least 16"),
        ((0.5, 0.4, 0.6), {"units": 16}, Verdict.PASS, "lies above"),
        ((0.5, 0.4, 0.6), {"units": 15, "smallest": 8}, Verdict.PASS, "lies above"),
        ((0.5, NAN, NAN), {}, Verdict.INSUFFICIENT, "has no interval"),
        ((0.5, NAN, NAN), {"units": 1}, Verdict.INSUFFICIENT, "at least 16"),
        ((NAN, NAN, NAN), {}, Verdict.UNDEFINED, "no defined value over 64 units"),
        ((NAN, NAN, NAN), {"units": 0, "required": True}, Verdict.UNDEFINED, "no defined value"),
        ((0.5, -INF, 0.6), {}, Verdict.WARN, "unbounded"),
        ((0.5, 0.4, INF), {}, Verdict.PASS, "[0.4, inf] lies above"),
        ((0.5, 0.5, 0.5), {}, Verdict.PASS, "lies above"),
        ((0.3, 0.3, 0.3), {}, Verdict.WARN, "does not leave the margin"),
    ],
)
def test_verdicts(interval, changes, verdict, said):
    found, reason = judged(*interval, **changes)
    assert found is verdict
    assert said in reason


def test_an_inconclusive_verdict_says_how_many_units_would_settle_it():
    values = np.random.default_rng(0).normal(0.4, 0.5, size=64)
    values += 0.4 - values.mean()
    interval = student_t(values).at()
    verdict, reason = judge(interval, present_above=0.3, absent_below=0.1, units=64)
    needed = (2.8016 * values.std(ddof=1) / 0.1) ** 2
    assert verdict is Verdict.WARN
    assert int(reason.split("about ")[1].split()[0]) == pytest.approx(needed, rel=0.05)


def test_a_detectable_effect_that_is_given_is_used():
    _, reason = judged(0.4, 0.2, 0.6, detectable=0.25)
    assert "detectable effect with 64 units is 0.25" in reason
    assert "about 400 units" in reason
    assert "is 0.286" in judged(0.4, 0.2, 0.6, detectable=NAN)[1]
    assert "more than a million units" in judged(0.3 + 1e-9, 0.2, 0.6)[1]
    assert "more than a million units" in judged(5e-324, -1.0, 1.0, present_above=0.0, absent_below=0.0)[1]


def test_margins_may_be_negative_as_logarithms_are():
    verdict, _ = judged(-3.5, -3.7, -3.3, present_above=np.log(0.5), absent_below=np.log(0.05))
    assert verdict is Verdict.ABSENT


def test_one_margin_and_no_absence():
    assert "margin 0.3," in judged(0.3, 0.2, 0.4, absent_below=0.3)[1]
    assert judged(-5.0, -6.0, -4.0, absent_below=-INF)[0] is Verdict.WARN


def test_wrong_arguments():
    with pytest.raises(ValueError, match="absent_below <= present_above"):
        judged(0.5, 0.4, 0.6, absent_below=0.4)
    with pytest.raises(ValueError, match="absent_below <= present_above"):
        judged(0.5, 0.4, 0.6, present_above=NAN)
    many = student_t(np.random.default_rng(1).normal(size=(20, 2)))
    with pytest.raises(ValueError, match="interval of one entry"):
        judge(many, present_above=0.3, absent_below=0.1, units=20)


BOUNDS = st.tuples(*[st.floats(-2, 2)] * 3).map(sorted)


@given(BOUNDS, st.floats(-1, 1), st.floats(0, 1), st.integers(0, 100), st.none() | st.floats(0, 1), st.booleans())
def test_a_conclusion_has_its_whole_interval_beyond_a_margin(bounds, absent, gap, units, p, required):
    low, estimate, high = bounds
    verdict, reason = judge(
        Interval(estimate, low, high, units, 0.95),
        present_above=absent + gap,
        absent_below=absent,
        units=units,
        p_adjusted=p,
        required=required,
    )
    assert (verdict is Verdict.PASS) == (units >= 16 and low > absent + gap and (p is None or p <= 0.05))
    assert (verdict in {Verdict.ABSENT, Verdict.FAIL}) == (units >= 16 and high < absent)
    assert verdict is not Verdict.FAIL or required
    assert reason
    assert "\n" not in reason


def test_equivalence_wants_the_whole_interval_inside():
    estimates = np.zeros(4)
    interval = Interval(estimates, np.array([-0.5, -1.0, -0.5, NAN]), np.array([0.5, 0.5, 2.0, NAN]), 64, 0.95)
    np.testing.assert_array_equal(equivalent(interval, 1.0), [True, False, False, False])
    assert equivalent(Interval(0.0, -0.005, 0.004, 64, 0.95), 0.01) is True
    with pytest.raises(ValueError, match="positive margin"):
        equivalent(interval, 0.0)


@pytest.mark.slow
def test_an_effect_at_its_margin_is_claimed_as_often_as_promised():
    values = np.random.default_rng(3).normal(0.3, 1.0, size=(64, 2000))
    intervals = student_t(values)
    verdicts = [judge(intervals.at(k), present_above=0.3, absent_below=0.3, units=64)[0] for k in range(2000)]
    assert 0.015 <= verdicts.count(Verdict.PASS) / 2000 <= 0.035
    assert 0.015 <= verdicts.count(Verdict.ABSENT) / 2000 <= 0.035


TABLE = {0.1: (785, 1375, 1953), 0.2: (197, 344, 489), 0.3: (88, 153, 217), 0.5: (32, 55, 79), 0.8: (13, 22, 31)}


@pytest.mark.parametrize(("effect", "expected"), TABLE.items())
def test_units_needed_for_one_twelve_and_all_heads(effect, expected):
    assert [units_needed(effect, tests) for tests in (1, 12, 144)] == pytest.approx(expected, abs=1)


def test_what_sixty_four_units_see():
    assert minimal_detectable_effect(1.0, 64) == pytest.approx(0.35, abs=0.005)
    assert minimal_detectable_effect(1.0, 64, tests=144) == pytest.approx(0.56, abs=0.01)


def test_shapes_and_missing_entries():
    effect = minimal_detectable_effect([[1.0, 2.0], [0.0, np.nan]], [[64, 64], [64, 64]])
    assert effect[0, 1] == 2 * effect[0, 0]
    assert effect[1, 0] == 0.0
    assert np.isnan(effect[1, 1])
    assert np.isnan(minimal_detectable_effect(1.0, 0))


@given(st.floats(0.01, 3.0), st.integers(1, 1000), st.floats(0.001, 0.2), st.floats(0.5, 0.99))
def test_one_function_undoes_the_other(effect, tests, alpha, power):
    units = units_needed(effect, tests, alpha=alpha, power=power)
    assert minimal_detectable_effect(1.0, units, alpha=alpha, power=power, tests=tests) <= effect * (1 + 1e-12)
    if units > 1:
        assert minimal_detectable_effect(1.0, units - 1, alpha=alpha, power=power, tests=tests) >= effect * (1 - 1e-12)
    assert units_needed(-effect, tests, alpha=alpha, power=power) == units


@pytest.mark.parametrize("effect", [0.0, np.nan, np.inf])
def test_no_number_of_units_shows_nothing(effect):
    with pytest.raises(ValueError, match="finite effect other than 0"):
        units_needed(effect)


@pytest.mark.parametrize("rates", [{"alpha": 0.0}, {"power": 1.0}, {"tests": 0}])
def test_rates_and_families(rates):
    with pytest.raises(ValueError, match="alpha and power in"):
        minimal_detectable_effect(1.0, 64, **rates)
    with pytest.raises(ValueError, match="alpha and power in"):
        units_needed(1.0, **rates)


@pytest.mark.parametrize(("sd", "units"), [(-1.0, 64), (1.0, -64)])
def test_negative_numbers(sd, units):
    with pytest.raises(ValueError, match="negative"):
        minimal_detectable_effect(sd, units)


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.3, 0.5])
def test_the_promised_power_is_found(effect):
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(1).normal(effect, 1.0, size=(units_needed(effect), 4000))
    assert 0.76 <= (ttest_1samp(values, 0.0).pvalue <= 0.05).mean() <= 0.82
