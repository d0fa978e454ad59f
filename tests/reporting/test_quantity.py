import math

import pytest

from heedful.reporting.quantity import count, interval, margin, number, probability, quantity, short_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (2.38e-7, "2.38e-07"),
        (0.0123456, "0.012"),
        (0.0012345, "0.0012"),
        (0.061, "0.061"),
        (-0.04, "-0.040"),
        (1.62, "1.62"),
        (0.5, "0.500"),
        (898.45, "898"),
        (12345.6, "12,346"),
        (3e12, "3e+12"),
        (48, "48"),
        (math.nan, "undefined"),
        (None, "undefined"),
        (math.inf, "infinite"),
        (-math.inf, "-infinite"),
    ],
)
def test_numbers_have_about_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (-0.0041, "-0.004"),
        (8.63, "8.630"),
        (123.45, "123.5"),
        (-5.19e-5, "-5e-05"),
        (1e12, "1e+12"),
        (math.nan, "-"),
        (-math.inf, "-"),
    ],
)
def test_short_numbers_fit_a_cell(value: float, text: str) -> None:
    assert short_number(value) == text
    assert len(text) <= 7


def test_units_intervals_and_margins() -> None:
    assert quantity(1.62, "ratio") == "1.62 ratio"
    assert quantity(math.nan, "nat") == "undefined"
    assert interval((-0.05, math.inf)) == "95% [-0.050, infinite]"
    assert margin(0.25) == "margin 0.25"
    assert count(1, "head") == "1 head"
    assert count(1200, "head") == "1,200 heads"


def test_a_p_value_is_never_zero() -> None:
    assert probability("p", 0.0) == "p < 0.0001"
    assert probability("p", 0.005) == "p = 0.0050"
