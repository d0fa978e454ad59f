"""Divergences of beliefs beside their attention."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.belief_models import belief_model
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing, study_of
from tests.evaluation.checks.planted import random_ids

from heedful.gauge.beliefs import divergences
from heedful.gauge.checks.beliefs_are_diverse import beliefs_are_diverse
from heedful.gauge.model.attention.gauge_kl import canonical
from heedful.inference.verdict import Verdict


def test_a_head_s_divergence_is_the_mean_over_pairs_and_its_label_is_told() -> None:
    model, ids = belief_model(num_hidden_layers=1), random_ids(20, 24)
    overall, layer, *heads = judged(beliefs_are_diverse, model, ids)
    assert {f.verdict for f in (overall, layer, *heads)} == {Verdict.INFO}
    assert [f.head for f in heads] == list(range(5))
    beliefs, frames = model.model.beliefs(ids, torch.arange(24).expand(20, -1))
    earlier = torch.ones(24, 24, dtype=torch.bool).tril(-1)
    groups = canonical(model.model.layout, beliefs, frames)
    expected = torch.cat([divergences(group, group)[:, :, earlier].mean(2) for group in groups], dim=1).mean(0)
    assert [f.estimate for f in heads] == pytest.approx(expected.tolist(), rel=1e-4)
    assert layer.estimate == pytest.approx(expected.mean().item(), rel=1e-4) == overall.estimate
    assert [f.detail["name"] for f in heads] == ["L0H0 l0", "L0H1 l0", "L0H2 l1", "L0H3 l1", "L0H4 l2"]
    assert all(label in overall.reason for label in ("l0 ", "l1 ", "l2 ", "angles spread "))
    assert overall.units is not None and len(overall.units) == 20


def test_diverse_beliefs_with_near_uniform_attention_are_named_and_alike_ones_are_not() -> None:
    model, ids = belief_model(num_hidden_layers=1), random_ids(20, 24)
    with torch.no_grad():
        model.model.layers[0].self_attn.log_kappa.fill_(8.0)
    overall, _, *heads = judged(beliefs_are_diverse, model, ids)
    named = [f.detail["name"] for f in heads if f.detail["beliefs"] == "diverse"]
    assert "L0H4 l2" in named and overall.detail["named"] == named
    assert f"{len(named)} have diverse beliefs and near-uniform attention" in overall.reason
    with torch.no_grad():
        model.model.layers[0].self_attn.log_kappa.fill_(-3.0)
    overall, _, *heads = judged(beliefs_are_diverse, model, ids)
    assert overall.detail["named"] == [] and heads[4].detail["beliefs"] == "diverse"
    with torch.no_grad():
        for table in (model.model.beliefs.mean, model.model.beliefs.position_mean, model.model.beliefs.log_variance):
            table.weight.mul_(0.05)
    assert {f.detail["beliefs"] for f in judged(beliefs_are_diverse, model, ids)[2:]} == {"alike"}


def test_too_few_documents_leave_every_head_open() -> None:
    heads = judged(beliefs_are_diverse, belief_model(num_hidden_layers=1), random_ids(4, 24))[2:]
    assert {f.detail["beliefs"] for f in heads} == {"open"}


def test_attention_without_beliefs_is_skipped_and_no_pair_is_undefined() -> None:
    assert judged(beliefs_are_diverse, PatternModel(nothing), random_ids(4, 24))[0].verdict is Verdict.SKIP
    study = study_of(belief_model(), random_ids(4, 24))
    for layer in study.observed.layers:
        layer.values["kl_mean"][:] = float("nan")
    assert [f.verdict for f in beliefs_are_diverse(study)] == [Verdict.UNDEFINED]
