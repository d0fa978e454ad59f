"""What kind of work attention does."""

from __future__ import annotations

import pytest
from tests.evaluation.checks.ablation_claims import alternating_ids, repeated_ids, topical_ids
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, judged, nothing, previous_key
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads
from torch import Tensor, nn

from heedful.evaluation.checks.ablation_signature import ablation_signature
from heedful.inference.verdict import Verdict


@pytest.mark.parametrize(
    ("model", "ids", "signature"),
    [
        (PlantedModel(*previous_token_heads(2, 32)), alternating_ids(24, 32), "positional"),
        (PatternModel(induction_keys), repeated_ids(), "content"),
        (PatternModel(nothing), topical_ids(), "value average"),
        (PlantedModel(*previous_token_heads(2, 32), fault="unused"), alternating_ids(24, 32), "unused"),
    ],
    ids=["positional", "content", "value average", "unused"],
)
def test_each_kind_of_work_is_named(model: nn.Module, ids: Tensor, signature: str) -> None:
    (found,) = judged(ablation_signature, model, ids)
    assert (found.verdict, found.detail["signature"]) == (Verdict.INFO, signature)
    assert found.n == 16


def test_two_layers_that_do_the_same_are_redundant() -> None:
    """Either layer alone predicts the next token; only without both is it lost."""
    model = PatternModel(previous_key, previous_key, gain=40.0)
    overall, *layers = judged(ablation_signature, model, alternating_ids(24, 32), preset="standard")
    assert overall.detail == {"signature": "positional", "redundant": True}
    assert "redundant: no layer alone costs anything" in overall.reason
    assert [f.layer for f in layers] == [0, 1]


def test_heads_that_do_the_same_are_redundant_within_their_layer() -> None:
    model = PatternModel(previous_key, gain=40.0)
    overall, layer = judged(ablation_signature, model, alternating_ids(24, 32), preset="full")
    assert not overall.detail["redundant"]
    assert layer.detail["redundant"]
    assert "no head alone" in layer.reason


def test_too_little_to_judge() -> None:
    model = PatternModel(induction_keys)
    assert judged(ablation_signature, model, repeated_ids(1))[0].verdict is Verdict.SKIP
    assert judged(ablation_signature, PatternModel(nothing, causal=False), repeated_ids())[0].verdict is Verdict.SKIP
    few = judged(ablation_signature, model, repeated_ids(6))[0]
    assert few.verdict is Verdict.INSUFFICIENT
    assert few.detail["signature"] == "too few documents"
