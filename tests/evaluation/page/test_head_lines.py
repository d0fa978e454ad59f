import math

import pytest
from tests.evaluation.page import factory

from heedful.evaluation.page.head_lines import SHOWN, head_lines, layer_lines
from heedful.reporting.paragraph import Sheet, cells, plain

PAGE = Sheet(70)


def many(count: int) -> list[object]:
    return [
        factory.head(index // 12, index % 12, statistics={"concentration": index / 100, "effective_keys": 50.0})
        for index in range(count)
    ]


def test_no_head_is_said() -> None:
    assert plain(head_lines([], PAGE)) == "  no head was measured\n"
    assert layer_lines([], PAGE) == []


def test_the_most_concentrated_come_first_and_the_rest_is_counted() -> None:
    rows = plain(head_lines(many(270), PAGE)).splitlines()
    assert rows[1].startswith("  L22H5 ")
    assert len(rows) == 1 + SHOWN + 2
    assert rows[-2] == "  \u2026 and 246 more: heedful heads MODEL"


def test_all_heads_come_in_the_order_of_the_model() -> None:
    rows = plain(head_lines(many(30), PAGE, shown=None)).splitlines()
    assert rows[1].startswith("  L0H0 ")
    assert len(rows) == 1 + 30 + 1


def test_a_row_shows_what_is_known() -> None:
    head = factory.head(
        pattern="previous token",
        verdict="SHARP",
        statistics={"effective_keys": 2.31, "visible_share": 0.036, "max_weight": 0.965, "row_std_seed": 0.0773},
    )
    row = plain(head_lines([head], PAGE)).splitlines()[1]
    assert row.split() == ["L0H0", "2.3", "3.6%", "0.965", "previous", "token", "SHARP", "0.0773"]


def test_the_share_follows_from_the_concentration_where_it_is_not_given() -> None:
    shown = plain(head_lines([factory.head(statistics={"concentration": math.log(4)})], PAGE))
    assert " 25.0% " in shown


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_undefined_number_is_a_dash_and_comes_last(value: float) -> None:
    undefined = factory.head(0, 1, verdict="UNDEFINED", statistics={"concentration": math.nan, "effective_keys": value})
    rows = plain(head_lines([undefined, factory.head()], PAGE)).splitlines()
    assert rows[2].split() == ["L0H1", "-", "-", "-", "UNDEFINED", "-"]


@pytest.mark.parametrize("width", [60, 70])
@pytest.mark.parametrize("label", [*factory.HOSTILE.values(), "x" * 300])
def test_any_label_fits(label: str, width: int) -> None:
    lines = plain(head_lines([factory.head(label=label, pattern=label)], Sheet(width))).splitlines()
    assert len(lines) == 3
    assert all(cells(line) <= width and line.isprintable() for line in lines)


def test_the_name_that_the_model_gives_follows_the_place_once() -> None:
    for label in ("L0H0 l1", "l1"):
        row = plain(head_lines([factory.head(label=label, verdict="SHARP")], PAGE)).splitlines()[1]
        assert row.split()[:2] == ["L0H0", "l1"] and row.count("L0H0") == 1


def test_layers_are_summed_up() -> None:
    heads = [
        factory.head(0, 0, verdict="SHARP"),
        factory.head(0, 1),
        factory.head(1, 0, verdict="ERROR", statistics={}),
    ]
    shown = plain(layer_lines(heads, PAGE))
    assert "      0      1          0     1        0          0         30.0" in shown
    assert "      1      0          0     0        0          1            -" in shown
    assert "3 heads: 1 sharp (33%), 1 weak (33%), 1 undefined (33%)" in shown
    assert "\u2026 and 6 more layers" in plain(layer_lines([factory.head(layer) for layer in range(30)], PAGE))
