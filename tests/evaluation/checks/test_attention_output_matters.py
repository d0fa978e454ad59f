"""Attention's output removed."""

from __future__ import annotations

from tests.evaluation.checks.ablation_claims import alternating_ids, repeated_ids, says_nothing_of_too_little
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, judged
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads

from heedful.evaluation.checks.attention_output_matters import attention_output_matters
from heedful.inference.verdict import Verdict


def test_a_pattern_that_is_needed_passes() -> None:
    (found,) = judged(attention_output_matters, PatternModel(induction_keys), repeated_ids(), whole_sequences=24)
    assert found.verdict is Verdict.PASS
    assert found.interval is not None and found.interval[0] > 0.01
    assert found.p_adjusted is not None and found.p_adjusted <= 0.05
    assert (found.threshold, found.unit) == (0.01, "nat/token")


def test_a_pattern_that_is_not_needed_fails() -> None:
    (found,) = judged(
        attention_output_matters, PlantedModel(*previous_token_heads(2, 32), fault="unused"), alternating_ids(24, 32)
    )
    assert found.verdict is Verdict.FAIL
    assert found.estimate is not None and abs(found.estimate) < 0.01
    assert found.detail["unused"]


def test_too_little_to_judge() -> None:
    says_nothing_of_too_little(attention_output_matters)
