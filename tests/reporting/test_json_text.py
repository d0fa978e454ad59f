"""JSON as text: strict, ASCII, and nothing in it acts."""

import json

import pytest

from heedful.reporting.json_text import document_text


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
