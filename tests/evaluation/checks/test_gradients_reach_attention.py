"""A real backward of the loss."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.pattern_models import PatternModel, judged, own_token
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids
from tests.evaluation.material import tiny_gpt2

from heedful.evaluation.checks.gradients_reach_attention import gradients_reach_attention
from heedful.inference.verdict import Verdict


def test_parameters_that_are_reached_pass_with_their_norm() -> None:
    overall, layer = judged(gradients_reach_attention, PatternModel(own_token), random_ids(8, 32))
    assert (overall.verdict, overall.estimate) == (Verdict.PASS, 1.0)
    assert overall.n == 4  # as many go backward
    assert layer.verdict is Verdict.INFO
    assert layer.estimate is not None and layer.estimate > 0


def test_a_parameter_that_is_never_reached_fails_by_name() -> None:
    model = PlantedModel(*previous_token_heads(2, 32), fault="dead")
    overall, layer = judged(gradients_reach_attention, model, random_ids(8, 32))
    assert overall.verdict is Verdict.FAIL
    assert "zero everywhere in 1: attention.query" in overall.reason
    assert overall.estimate == pytest.approx(2 / 3)
    assert layer.verdict is Verdict.ERROR


def test_a_parameter_behind_a_gate_that_begins_at_zero_is_a_warning_that_names_the_gate() -> None:
    model = tiny_gpt2(layers=1)
    with torch.no_grad():
        model.transformer.h[0].attn.c_proj.weight.zero_()
    overall, layer = judged(gradients_reach_attention, model, random_ids(8, 32))
    assert (overall.verdict, layer.verdict) == (Verdict.WARN, Verdict.WARN)
    assert "wait behind 1 parameters that are exactly 0 (transformer.h.0.attn.c_proj.weight)" in overall.reason
    assert set(overall.detail["gates"]) == {f"transformer.h.0.attn.c_attn.{part}" for part in ("weight", "bias")}
    model.transformer.h[0].attn.c_proj.weight.requires_grad_(False)
    overall, layer = judged(gradients_reach_attention, model, random_ids(8, 32))
    assert (overall.verdict, layer.verdict) == (Verdict.FAIL, Verdict.ERROR)


def test_a_gradient_that_is_not_finite_fails() -> None:
    model = PlantedModel(*previous_token_heads(2, 32), fault="nan logits")
    overall = judged(gradients_reach_attention, model, random_ids(8, 32))[0]
    assert overall.verdict is Verdict.FAIL
    assert "not finite" in overall.reason


def test_frozen_parameters_are_named_and_all_frozen_are_skipped() -> None:
    model = PatternModel(own_token)
    model.layers[0].strength.requires_grad_(False)
    overall = judged(gradients_reach_attention, model, random_ids(8, 32))[0]
    assert overall.verdict is Verdict.PASS
    assert overall.detail["frozen"] == ["layers.0.strength"]
    model.requires_grad_(False)
    overall = judged(gradients_reach_attention, model, random_ids(8, 32))[0]
    assert (overall.verdict, "all are frozen" in overall.reason) == (Verdict.SKIP, True)


def test_a_model_without_a_loss_is_skipped() -> None:
    model = PatternModel(own_token, causal=False)
    assert judged(gradients_reach_attention, model, random_ids(8, 32))[0].verdict is Verdict.SKIP
