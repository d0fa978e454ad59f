"""Columns of numbers stand flush right, columns of words flush left."""

from __future__ import annotations

import pytest

from heedful.reporting.pages.html import page_html
from heedful.reporting.pages.part import Page, PagePart, number_columns


@pytest.mark.parametrize(
    ("cells", "number"),
    [
        (["0.1", "-0.2", "-"], True),
        (["[+0.1, +0.2]", "-"], True),
        (["0.2 nats", "3 keys"], True),
        (["<.0001", "12.5%"], True),
        (["0-3", "all"], False),
        (["held", "held"], False),
        (["query head h reads key head h // 3"], False),
        (["-", "-"], False),
        (["1 / sqrt(32), the width of a head", "0.5"], False),
    ],
)
def test_a_column_is_of_numbers_or_of_words(cells: list[str], number: bool) -> None:
    part = PagePart(title="Table", text="", header=("name", "x"), rows=[("a", cell) for cell in cells])
    assert number_columns(part) == [False, number]


def test_the_page_aligns_by_content() -> None:
    rows = [("a", "held", "0.25"), ("b", "a sentence that is long enough to be broken", "-")]
    part = PagePart(title="Table", text="Words.", header=("name", "found", "x"), rows=rows)
    html = page_html(Page(title="Title", subject="subject", parts=[part]))
    assert '<td class="words long">held</td>' in html and '<td class="number">0.25</td>' in html
    assert number_columns(PagePart(title="", text="", header=("a", "b"))) == [False, False]


def test_settings_and_date_stand_at_the_foot() -> None:
    class Record:
        settings = {"seed": 3, "margins": {"mass": 0.02}, "bits": [8, 4], "tied": True, "name": None}  # noqa: RUF012
        versions = {"torch": "2.13"}  # noqa: RUF012

    html = page_html(Page(title="Title", subject="subject", parts=[]), Record())
    for name, value in (("seed", "3"), ("margins.mass", "0.02"), ("bits", "8, 4"), ("tied", "yes"), ("torch", "2.13")):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in html
    assert "<dt>name</dt><dd>not given</dd>" in html and "Made by heedful " in html
    assert "Settings and versions" not in page_html(Page(title="Title", subject="subject", parts=[]))
