"""Heads that read the token before."""

from __future__ import annotations

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids

from heedful.evaluation.checks.previous_token import previous_token
from heedful.inference.verdict import Verdict


def test_a_previous_token_head_passes() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    overall, *heads = judged(previous_token, model, random_ids(24, 32), null_models=19)
    assert {f.verdict for f in (overall, *heads)} == {Verdict.PASS}
    assert overall.estimate == pytest.approx(1.0, abs=1e-5)
    assert overall.threshold == 0.4


def test_absence_is_judged_by_the_lower_margin_and_says_so() -> None:
    overall, *heads = judged(previous_token, PatternModel(nothing), random_ids(24, 32))
    assert {f.verdict for f in (overall, *heads)} == {Verdict.ABSENT}
    assert {f.threshold for f in (overall, *heads)} == {0.2}


@pytest.mark.parametrize(
    ("count", "length", "verdict"), [(6, 32, Verdict.INSUFFICIENT), (24, 7, Verdict.UNDEFINED)], ids=["few", "short"]
)
def test_too_little_to_judge(count: int, length: int, verdict: Verdict) -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    assert judged(previous_token, model, random_ids(count, length))[0].verdict is verdict
