"""Parameters, logits and weights without NaN or infinity."""

from __future__ import annotations

import torch
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids

from heedful.evaluation.checks.attention_is_finite import attention_is_finite
from heedful.inference.verdict import Verdict


def test_finite_attention_passes() -> None:
    (found,) = judged(attention_is_finite, PatternModel(nothing), random_ids(4, 32))
    assert found.verdict is Verdict.PASS
    assert found.estimate == 0


def test_a_parameter_that_is_not_finite_fails_by_name() -> None:
    model = PatternModel(nothing)
    with torch.no_grad():
        model.layers[0].value.weight[0, :3] = float("inf")
    (found,) = judged(attention_is_finite, model, random_ids(4, 32))
    assert found.verdict is Verdict.FAIL
    assert found.estimate == 3
    assert "layers.0.value.weight (3)" in found.reason


def test_rows_that_are_not_finite_fail_and_name_their_head() -> None:
    model = PlantedModel(*previous_token_heads(2, 32), fault="nan logits")
    overall, head = judged(attention_is_finite, model, random_ids(4, 32))
    assert overall.verdict is Verdict.FAIL
    assert overall.estimate == 4 * 32
    assert (head.verdict, head.layer, head.head) == (Verdict.ERROR, 0, 0)
