"""Concentration over the number of visible keys."""

from __future__ import annotations

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing, thinning
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids

from heedful.evaluation.checks.concentration_keeps_with_length import concentration_keeps_with_length
from heedful.inference.verdict import Verdict


def test_a_fixed_number_of_keys_has_slope_one() -> None:
    model = PlantedModel(*previous_token_heads(2, 64))
    (found,) = judged(concentration_keeps_with_length, model, random_ids(20, 64))
    assert found.verdict is Verdict.PASS
    assert found.estimate == pytest.approx(1.0, abs=1e-4)


def test_a_fixed_share_of_keys_has_slope_zero() -> None:
    (found,) = judged(concentration_keeps_with_length, PatternModel(nothing), random_ids(20, 64))
    assert found.verdict is Verdict.PASS
    assert found.estimate == pytest.approx(0.0, abs=1e-4)


def test_attention_that_thins_out_is_told_and_not_failed() -> None:
    (found,) = judged(concentration_keeps_with_length, PatternModel(thinning), random_ids(20, 64))
    assert found.verdict is Verdict.WARN
    assert "disperses with length" in found.reason
    assert found.interval is not None and found.interval[1] < -0.1


@pytest.mark.parametrize(
    ("count", "length", "verdict"), [(6, 64, Verdict.INSUFFICIENT), (24, 8, Verdict.UNDEFINED)], ids=["few", "short"]
)
def test_too_little_to_judge(count: int, length: int, verdict: Verdict) -> None:
    found = judged(concentration_keeps_with_length, PatternModel(thinning), random_ids(count, length))
    assert found[0].verdict is verdict


def test_equal_sight_everywhere_has_no_slope() -> None:
    model = PatternModel(nothing, causal=False)
    assert judged(concentration_keeps_with_length, model, random_ids(20, 64))[0].verdict is Verdict.UNDEFINED
