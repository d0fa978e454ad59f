"""Equal weights on every visible key."""

from __future__ import annotations

from tests.evaluation.checks.ablation_claims import repeated_ids, says_nothing_of_too_little, topical_ids
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, judged, nothing

from heedful.evaluation.checks.learned_weights_matter import learned_weights_matter
from heedful.inference.verdict import Verdict


def test_a_pattern_that_is_needed_passes() -> None:
    (found,) = judged(learned_weights_matter, PatternModel(induction_keys), repeated_ids())
    assert found.verdict is Verdict.PASS
    assert found.interval is not None and found.interval[0] > 0.01
    assert found.p_adjusted is not None and found.p_adjusted <= 0.05
    assert (found.threshold, found.unit) == (0.01, "nat/token")


def test_a_pattern_that_is_not_needed_is_absent() -> None:
    (found,) = judged(learned_weights_matter, PatternModel(nothing), topical_ids())
    assert found.verdict is Verdict.ABSENT
    assert found.estimate is not None and abs(found.estimate) < 0.01


def test_too_little_to_judge() -> None:
    says_nothing_of_too_little(learned_weights_matter)
