import json
import math
from dataclasses import replace

import pytest
from tests.evaluation.page import factory
from tests.evaluation.page.cards import carded

from heedful.evaluation.page.json_document import SCHEMA, head_documents, to_document, to_json
from heedful.evaluation.result import Section
from heedful.reporting.escape import encoded

TOP = [
    "schema",
    "verdict",
    "model",
    "data",
    "settings",
    "versions",
    "sections",
    "heads",
    "not_measured",
    "summary",
    "run",
]
FINDING = [
    "claim",
    "verdict",
    "estimate",
    "interval",
    "unit",
    "n",
    "null",
    "p",
    "p_adjusted",
    "threshold",
    "source",
    "layer",
    "head",
    "reason",
    "detail",
]
HEAD = ["layer", "module", "head", "label", "verdict", "pattern", "statistics", "reason"]


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def test_the_document_has_exactly_its_fields() -> None:
    document = json.loads(to_json(factory.realistic()), parse_constant=refuse)
    assert list(document) == TOP
    assert document["schema"] == SCHEMA
    assert [section["number"] for section in document["sections"]] == list(range(1, 10))
    assert all(list(section) == ["number", "title", "findings"] for section in document["sections"])
    found = [list(finding) for section in document["sections"] for finding in section["findings"]]
    assert all(names in (FINDING, [*FINDING, "meaning"]) for names in found)
    assert all(list(head) == HEAD for head in document["heads"])


def test_lost_numbers_are_null_with_a_reason_and_a_path() -> None:
    findings = [
        factory.finding(estimate=math.nan, reason=""),
        factory.finding(interval=(-math.inf, 1.0), reason="One-sided."),
        factory.finding(reason=""),
    ]
    heads = [factory.head(statistics={"max_weight": math.nan}), factory.head(statistics={"max_weight": 1.0})]
    report = factory.small(
        sections=[Section(number=1, title="x", findings=findings)], heads=heads, model={"x": math.inf}
    )
    document = to_document(report)
    first, second, third = document["sections"][0]["findings"]
    assert (first["estimate"], first["reason"]) == (None, "not finite")
    assert (second["interval"], second["reason"]) == ([None, 1.0], "One-sided.")
    assert third["reason"] == ""
    assert [head["reason"] for head in document["heads"]] == ["not finite", ""]
    assert document["summary"]["non_finite"] == [
        "$.model.x",
        "$.sections[0].findings[0].estimate",
        "$.sections[0].findings[1].interval[0]",
        "$.heads[0].statistics.max_weight",
    ]


def test_only_run_differs_between_equal_runs() -> None:
    first, second = factory.realistic(), replace(factory.realistic(), run={"seconds": math.nan})
    assert to_json(first) != to_json(second)
    one, two = to_document(first), to_document(second)
    assert (one.pop("run"), two.pop("run")) != (None, None)
    assert one == two


def test_a_number_that_differs_in_its_last_bits_gives_the_same_bytes() -> None:
    first = factory.small(model={"loss": 0.1 + 0.2})
    assert to_json(first) == to_json(factory.small(model={"loss": 0.3}))


def test_the_order_of_a_mapping_does_not_matter() -> None:
    assert to_json(factory.small(settings={"a": 1, "b": 2})) == to_json(factory.small(settings={"b": 2, "a": 1}))


@pytest.mark.parametrize("token", factory.HOSTILE.values())
def test_no_token_acts_in_the_text(token: str) -> None:
    text = to_json(factory.small(model={"name": token, token: 1}, heads=[factory.head(label=token)]))
    assert text.isascii()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert not set("<>&") & set(text)
    assert json.loads(text)["model"]["name"] == encoded(token)


def test_head_documents_are_the_rows_of_the_report() -> None:
    report = factory.realistic()
    assert head_documents(report.heads)[:23] == to_document(report)["heads"][:23]


def test_cards_stand_in_a_document_only_where_the_report_has_them() -> None:
    document = json.loads(to_json(carded()), parse_constant=refuse)
    assert [name for name in document if name not in TOP] == ["cards"]
    first = document["cards"]["heads"][0]
    assert first["distance"][3] == [0.2, None, 0.3]
    assert first["received"] == {"query": None, "keys": [0, 3], "weights": [0.25, 0.125]}
    assert document["cards"]["tokens"]["7"] == " king"
    assert document["summary"]["non_finite"] == to_document(factory.realistic())["summary"]["non_finite"]
