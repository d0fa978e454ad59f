"""The page: closed, complete in its parts, and the same for the same report."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.evaluation.page import factory
from tests.evaluation.page.cards import card, carded, noise
from tests.evaluation.page.html.reading import assert_closed

from heedful.evaluation.page.html.page import to_html
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.json_reader import from_json
from heedful.evaluation.result import Cards

PARTS = ("verdicts", "heads", "figures", "not-measured", "next", "settings")


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page = assert_closed(to_html(carded()))
    assert [tag for tag, _ in page.tags].count("img") == 4


def test_every_part_stands_on_the_page_in_order() -> None:
    html = to_html(carded())
    page = assert_closed(html)
    found = [attributes["id"] for tag, attributes in page.tags if tag == "section" and attributes.get("id") in PARTS]
    assert tuple(found) == PARTS
    titles = re.findall(r'id="block-\d"><span class="number">(\d)</span> ([^<]+)<', html)
    assert [title for _, title in titles] == [section.title for section in factory.realistic().sections]
    for words in ("Find why transformer.h.2", "never reached it", "null models", "Holm within each section", "5.23.0"):
        assert words in page.text


def test_every_verdict_is_folded_to_its_evidence() -> None:
    report = carded()
    page = assert_closed(to_html(report))
    claims = {f.claim for section in report.sections for f in section.findings}
    assert [tag for tag, _ in page.tags].count("summary") >= len(claims)
    for section in report.sections:
        for finding in section.findings:
            if finding.layer is None and "\x1b" not in finding.reason:
                assert finding.reason in page.text
                assert finding.claim.replace("_", " ") in page.text
    assert "Near keys outweigh far ones." in page.text
    assert "95 % interval" in page.text and "[1.41, 1.88]" in page.text


def test_the_data_of_the_map_are_those_of_the_heads() -> None:
    report = carded()
    data = assert_closed(to_html(report)).data
    names = [name for name, _, _ in data["statistics"]]
    for row, head in zip(report.heads, data["heads"], strict=True):
        assert (head["l"], head["h"]) == (row.layer, row.head)
        assert head["verdict"][1] == row.verdict
        known = row.statistics["max_weight"]
        shown = head["s"][names.index("max_weight")]
        assert shown is None if known != known else abs(shown - known) < 1e-3
    first = data["heads"][0]
    assert first["strongest"] == [[7, [[6, 0.75], [3, 0.125]]]]
    assert first["reach"][3] == [0.2, None, 0.3, 0.8]
    assert data["tokens"]["7"] == " king"
    assert first["untrained"][names.index("concentration")] == [0.001, 0.002, 0.004]
    assert [data["claims"][claim[0]][0] for claim in first["c"]] == ["local_bias"]


def test_a_page_is_the_same_again_from_the_stored_document() -> None:
    report = carded()
    assert to_html(from_json(to_json(report))) == to_html(from_json(to_json(from_json(to_json(report)))))


def test_a_report_without_cards_or_heads_or_summary_has_a_page() -> None:
    for report in (factory.realistic(), replace(factory.small(), heads=[], summary={}, settings={}, model={})):
        page = assert_closed(to_html(report))
        assert page.data["document"] is None
    assert [tag for tag, _ in page.tags].count("article") == 0


def test_270_heads_with_pictures_stay_below_three_megabytes() -> None:
    heads = [factory.head(layer, number) for layer in range(30) for number in range(9)]
    full = noise(129)
    cards = [card(row.layer, row.head, picture=full) for row in heads]
    known = carded().cards
    assert known is not None
    report = replace(
        factory.realistic(),
        heads=heads,
        cards=Cards(document="d", length=128, tokens=known.tokens, distances=known.distances, heads=cards),
    )
    assert len(to_html(report)) < 3_000_000
