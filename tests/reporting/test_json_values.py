"""JSON as text: strict, ASCII, and nothing in it acts."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from heedful.inference.verdict import Verdict
from heedful.reporting.json_values import document_text, json_value, step


def converted(value: object) -> tuple[object, list[str]]:
    lost: list[str] = []
    return json_value(value, "$", lost), lost


def test_plain_values_stay() -> None:
    value = {"a": None, "b": True, "c": 3, "d": "x", "e": [1.5, {}]}
    assert converted(value) == (value, [])


def test_not_finite_becomes_null_and_is_noted() -> None:
    value, lost = converted({"a": [1.0, math.nan], "b c": -math.inf})
    assert value == {"a": [1.0, None], "b c": None}
    assert lost == ["$.a[1]", "$['b c']"]


def test_floats_have_nine_digits_and_one_zero() -> None:
    assert converted(0.1 + 0.2)[0] == 0.3
    assert converted(1 / 3)[0] == 0.333333333
    assert str(converted(-0.0)[0]) == "0.0"
    assert converted(1.23456789012e-30)[0] == 1.23456789e-30


def test_other_kinds_of_number_and_text() -> None:
    assert converted(np.float32(0.1))[0] == 0.100000001
    assert converted(np.arange(3))[0] == [0, 1, 2]
    assert converted(np.bool_(True))[0] is True
    assert converted(Path("a") / "b")[0] == "a/b"
    assert type(converted(Verdict.PASS)[0]) is str
    assert converted({"b", "a"})[0] == ["a", "b"]
    assert converted((1, 2))[0] == [1, 2]


def test_keys_are_sorted_text() -> None:
    value = converted({2: "b", "1": "a"})[0]
    assert value == {"1": "a", "2": "b"}
    assert list(value) == ["1", "2"]


@pytest.mark.parametrize("value", [object(), b"bytes", {"deep": [object()]}])
def test_what_has_no_json_form_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(TypeError, match=r"^\$.*got (object|bytes)"):
        converted(value)


def test_paths() -> None:
    assert step("$", "a_1") == "$.a_1"
    assert step("$", "a.b") == "$['a.b']"


def test_no_character_acts_and_the_value_comes_back() -> None:
    document = {"token": "<script>&\x1b[2J\x7f\u00e9\u202e", "n": [1, None, 2.5]}
    text = document_text(document)
    assert text.isascii() and text.endswith("}\n")
    assert not set("<>&\x1b\x7f") & set(text)
    assert json.loads(text) == document


def test_values_of_documents_stand_on_one_line() -> None:
    assert document_text({"units": [0.5, None, 1.0]}) == '{\n  "units": [0.5, null, 1.0]\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_has_not_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        document_text({"x": value})
