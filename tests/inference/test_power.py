import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.inference.power import minimal_detectable_effect, units_needed

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
