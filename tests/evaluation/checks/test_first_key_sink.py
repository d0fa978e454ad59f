"""Heads that rest on the first key."""

from __future__ import annotations

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, first_key, judged, nothing
from tests.evaluation.checks.planted import random_ids

from heedful.evaluation.checks.first_key_sink import first_key_sink
from heedful.inference.verdict import Verdict


def test_a_sink_passes() -> None:
    overall, *heads = judged(first_key_sink, PatternModel(first_key), random_ids(24, 32), null_models=19)
    assert {f.verdict for f in (overall, *heads)} == {Verdict.PASS}
    assert overall.estimate is not None and overall.estimate > 0.9


def test_uniform_attention_has_no_sink() -> None:
    assert judged(first_key_sink, PatternModel(nothing), random_ids(24, 32))[0].verdict is Verdict.ABSENT


@pytest.mark.parametrize(
    ("count", "length", "verdict"), [(6, 32, Verdict.INSUFFICIENT), (24, 7, Verdict.UNDEFINED)], ids=["few", "short"]
)
def test_too_little_to_judge(count: int, length: int, verdict: Verdict) -> None:
    assert judged(first_key_sink, PatternModel(first_key), random_ids(count, length))[0].verdict is verdict
