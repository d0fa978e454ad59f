"""The pattern of another document."""

from __future__ import annotations

from tests.evaluation.checks.ablation_claims import alternating_ids, repeated_ids, says_nothing_of_too_little
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, judged
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads

from heedful.evaluation.checks.own_text_matters import own_text_matters
from heedful.inference.verdict import Verdict


def test_a_pattern_that_is_needed_passes() -> None:
    (found,) = judged(own_text_matters, PatternModel(induction_keys), repeated_ids())
    assert found.verdict is Verdict.PASS
    assert found.interval is not None and found.interval[0] > 0.01
    assert found.p_adjusted is not None and found.p_adjusted <= 0.05
    assert (found.threshold, found.unit) == (0.01, "nat/token")


def test_a_pattern_that_is_not_needed_is_absent() -> None:
    (found,) = judged(own_text_matters, PlantedModel(*previous_token_heads(2, 32)), alternating_ids(24, 32))
    assert found.verdict is Verdict.ABSENT
    assert found.estimate is not None and abs(found.estimate) < 0.01


def test_too_little_to_judge() -> None:
    says_nothing_of_too_little(own_text_matters)
