"""Near keys against far ones, row by row."""

from __future__ import annotations

import math

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, judged, near_keys, nothing
from tests.evaluation.checks.planted import random_ids

from heedful.evaluation.checks.local_bias import local_bias
from heedful.inference.verdict import Verdict


def test_a_window_head_passes_with_its_true_contrast() -> None:
    overall, *heads = judged(local_bias, PatternModel(near_keys), random_ids(24, 32), null_models=19)
    assert overall.verdict is Verdict.PASS
    assert overall.estimate == pytest.approx(2.0, abs=1e-4)
    assert [f.verdict for f in heads] == [Verdict.PASS] * 2
    assert all(f.p_adjusted == pytest.approx(0.05) for f in heads)


def test_without_untrained_models_it_is_descriptive_only() -> None:
    overall = judged(local_bias, PatternModel(near_keys), random_ids(24, 32))[0]
    assert overall.verdict is Verdict.WARN
    assert overall.null == "not available: no null comparison was requested"


def test_uniform_attention_is_not_local() -> None:
    overall, *heads = judged(local_bias, PatternModel(nothing), random_ids(24, 32))
    assert {f.verdict for f in (overall, *heads)} == {Verdict.ABSENT}
    assert overall.estimate == pytest.approx(0.0, abs=1e-5)
    assert overall.threshold == pytest.approx(math.log(1.25))


@pytest.mark.parametrize(
    ("count", "length", "verdict"), [(6, 32, Verdict.INSUFFICIENT), (24, 7, Verdict.UNDEFINED)], ids=["few", "short"]
)
def test_too_little_to_judge(count: int, length: int, verdict: Verdict) -> None:
    assert judged(local_bias, PatternModel(near_keys), random_ids(count, length))[0].verdict is verdict
