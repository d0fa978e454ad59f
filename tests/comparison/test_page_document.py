import json

import pytest
from tests.comparison import comparisons
from tests.evaluation.page import factory

from heedful.comparison.page_document import comparison_json


def test_the_document_holds_everything() -> None:
    document = json.loads(comparison_json(comparisons.comparison()))
    assert document["schema"] == "heedful.comparison/1"
    assert document["failed"] is True and document["fail_on"] == ["verdict"]
    first = document["findings"][0]
    assert first["verdicts"] == ["PASS", "WARN"] and first["estimates"] == [1.0, 0.5]
    assert first["interval"] == [-0.7, -0.3] and first["paired"] is True and first["p_adjusted"] == 0.003
    assert document["findings"][2]["verdicts"] == [None, "WARN"]
    assert document["heads"][0]["differences"] == {"effective_keys": 4.25, "sink_mass": None, "previous_mass": -0.25}
    assert document["head_verdicts"] == {"previous_token": {"changed": 2, "heads": 24}}
    assert document["context"] == [{"what": "model: name", "before": "old", "after": "new"}]


@pytest.mark.parametrize("token", factory.HOSTILE.values())
def test_no_token_acts_in_the_text(token: str) -> None:
    text = comparison_json(comparisons.comparison(token))
    assert text.isascii() and not set("<>&") & set(text)
    json.loads(text)
