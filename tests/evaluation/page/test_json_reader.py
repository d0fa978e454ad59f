import json
import math

import pytest
from tests.evaluation.page import factory
from tests.evaluation.page.cards import carded

from heedful.errors import InputRejected
from heedful.evaluation.page.json_document import to_json
from heedful.evaluation.page.json_reader import from_json
from heedful.evaluation.page.terminal import terminal_text
from heedful.evaluation.result import Report, Section
from heedful.inference.verdict import Verdict


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(to_json(factory.small())), **fields})


def test_a_report_comes_back() -> None:
    report = factory.realistic()
    again = from_json(to_json(report))
    assert isinstance(again, Report)
    assert to_json(again) == to_json(report)
    assert terminal_text(again) == terminal_text(from_json(to_json(again)))
    assert again.verdict is Verdict.FAIL
    assert again.sections[1].findings[0].interval == (1.41, 1.88)


def test_null_statistics_come_back_undefined() -> None:
    last = from_json(to_json(factory.realistic())).heads[-1]
    assert math.isnan(last.statistics["max_weight"])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("heedful.report/2", r"schema 2 > 1 \(read it with a newer heedful\)"),
        ("heedful.report/0", "expected schema heedful.report/1, got 'heedful.report/0'"),
        ("heedful.reporting/\u00b2", "expected schema"),
        ("other/1", "expected schema"),
        (None, "expected schema heedful.report/1, got None"),
        (["heedful.report/1"], "expected schema"),
    ],
)
def test_another_schema_is_refused(schema: object, said: str) -> None:
    with pytest.raises(InputRejected, match=said) as caught:
        from_json(changed(schema=schema), name="old.json")
    assert caught.value.subject == "old.json"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(share: float) -> None:
    text = to_json(factory.realistic())
    with pytest.raises(InputRejected, match="whole JSON document"):
        from_json(text[: int(len(text) * share)])


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '"heedful.report/1"',
        '{"schema": "heedful.report/1"}',
        '{"schema": "heedful.report/1", "schema": "heedful.report/1"}',
        "[" * 100_000,
        "1" * 10_000,
        b"\xff\xfe\xfa",
        changed(surplus=1),
        changed(verdict="MAYBE"),
        changed(versions={"heedful": 1}),
        changed(heads=[{"layer": 0}]),
        changed().replace("0.1", "NaN"),
        changed(model={"x": 7}).replace("7", "Infinity"),
        changed(model={"x": 7}).replace("7", "1e999"),
    ],
)
def test_what_is_no_report_is_refused(text: str | bytes) -> None:
    with pytest.raises(InputRejected):
        from_json(text)


def test_a_refusal_names_the_place() -> None:
    with pytest.raises(InputRejected, match=r"heads\.0\.module"):
        from_json(changed(heads=[{"layer": 0}]))


def test_values_of_documents_come_back_and_stand_on_one_line() -> None:
    findings = [factory.finding(units=(0.25, None, 3.0)), factory.finding(reason='"units": [ 1 ]')]
    data = {"document_fingerprints": ["aa", "bb", "cc"]}
    report = factory.small(sections=[Section(number=1, title="x", findings=findings)], data=data)
    text = to_json(report)
    assert '"units": [0.25, null, 3.0]\n' in text and '"document_fingerprints": ["aa", "bb", "cc"]\n' in text
    again = from_json(text).sections[0].findings
    assert list(again[0].units or ()) == [0.25, None, 3.0]
    assert again[1].units is None and again[1].reason == '"units": [ 1 ]'
    assert to_json(from_json(text)) == text


def test_a_report_without_them_is_read_as_before() -> None:
    text = to_json(factory.realistic())
    assert '"units"' not in text
    assert all(one.units is None for section in from_json(text).sections for one in section.findings)


def test_cards_come_back_as_they_were() -> None:
    text = to_json(carded())
    again = from_json(text)
    assert again.cards is not None and again.cards.heads[0].picture == carded().cards.heads[0].picture
    assert again.cards.tokens[7] == " king"
    assert math.isnan(again.cards.heads[0].distance[3][1])
    assert to_json(again) == text


@pytest.mark.parametrize(
    ("old", "bad"),
    [
        ('"rows": 16', '"rows": 257'),
        ('"rows": 16', '"rows": 0'),
        ('"7": " king"', '"7a": " king"'),
        ('"shades": "', '"shades": "%'),
    ],
)
def test_cards_that_no_heedful_wrote_are_rejected(old: str, bad: str) -> None:
    text = to_json(carded())
    assert old in text
    with pytest.raises(InputRejected, match="cards"):
        from_json(text.replace(old, bad, 1))
