"""S16, S18, F45 on the page and in figures: text is data, never markup, and a lost number is no number."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.evaluation.page import factory
from tests.evaluation.page.cards import DISTANCES, card, carded
from tests.evaluation.page.html.reading import assert_closed

from heedful.evaluation.page.figures.figures import save_figures
from heedful.evaluation.page.html.heads import heads_json
from heedful.evaluation.page.html.page import to_html
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.json_reader import from_json
from heedful.evaluation.result import Cards, Strongest
from heedful.reporting.escape import visible

pytestmark = pytest.mark.fault

TOKENS = sorted(factory.HOSTILE.items())
each_token = pytest.mark.parametrize("token", [token for _, token in TOKENS], ids=[name for name, _ in TOKENS])


@each_token
def test_s16_no_token_becomes_markup(token: str) -> None:
    report = carded(factory.everywhere(token), token=token, document=token)
    html = to_html(report)
    page = assert_closed(html)
    plain = assert_closed(to_html(carded(factory.everywhere("x"), token="x", document="x")))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert visible(token) in page.text
    assert page.data["tokens"]["7"] == visible(token)
    assert page.data["heads"][0]["module"] == visible(token)
    assert "49" not in page.text.split("heedful:")[0]


@each_token
def test_s17_no_control_or_format_character_reaches_the_page(token: str) -> None:
    html = to_html(carded(factory.everywhere(token), token=token, document=token))
    assert all(character.isprintable() or character == "\n" for character in html)
    assert not re.search("[\u200b-\u200f\u2028-\u202e\ufeff]", html)


@each_token
def test_s16_the_data_of_the_map_cannot_end_their_element(token: str) -> None:
    text = heads_json(carded(factory.everywhere(token), token=token, document=token))
    assert text.isascii() and not set("<>&") & set(text)


@each_token
def test_s16_the_whole_path_from_a_stored_report_to_the_page(token: str) -> None:
    stored = to_json(carded(factory.everywhere(token), token=token, document=token))
    page = assert_closed(to_html(from_json(stored)))
    shown = page.data["tokens"]["7"]
    assert shown.isprintable()
    assert shown == visible(token) or "\ud800" in token


@each_token
def test_f45_a_token_in_a_figure_is_text(token: str, tmp_path: Path) -> None:
    arm = factory.finding(estimate=0.5, interval=(0.4, 0.6), threshold=0.01, detail={"arm": token})
    curve = [{"distance": token, "mass": 0.2, "low": 0.1, "high": 0.3, "uniform": 0.5}]
    reach = factory.finding("mass_by_distance", "INFO", detail={"curve": curve})
    report = factory.small(sections=[factory.Section(number=9, title=token, findings=[arm, reach])])
    for path in save_figures(report, tmp_path / "figures", overwrite=False):
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            for element in ElementTree.fromstring(text).iter():
                name = str(element.tag).removeprefix("{http://www.w3.org/2000/svg}")
                assert name in {
                    "svg",
                    "g",
                    "path",
                    "text",
                    "line",
                    "rect",
                    "defs",
                    "clipPath",
                    "linearGradient",
                    "stop",
                }
                assert not any(key.startswith("on") or key.endswith(("href", "src")) for key in element.attrib)
            assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_s18_a_number_that_is_not_finite_is_a_dash(number: float) -> None:
    names = ("concentration", "row_entropy", "max_weight")
    lost = card(
        distance=[(number, number, number)] * 4,
        uniform=[number] * 4,
        received=Strongest(query=None, keys=[0], weights=[number]),
        strongest=[],
        untrained={"concentration": (number, number, number)},
        picture=None,
    )
    finding = factory.finding(estimate=number, interval=(number, number), p=number, threshold=number)
    report = replace(
        factory.small(sections=[factory.Section(number=1, title="x", findings=[finding])]),
        heads=[factory.head(statistics=dict.fromkeys(names, number))],
        cards=Cards(document="d", length=4, tokens={0: "x"}, distances=DISTANCES, heads=[lost]),
    )
    page = assert_closed(to_html(report))
    assert page.data["heads"][0]["s"] == [None, None, None]
    assert page.data["heads"][0]["reach"][0] == [None, None, None, None]
    assert page.data["heads"][0]["received"] == [None, [[0, None]]]
    again = from_json(to_json(report))
    assert again.cards is not None and math.isnan(again.cards.heads[0].distance[0][0])
