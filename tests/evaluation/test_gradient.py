"""Gradients of attention parameters."""

from __future__ import annotations

import math

import pytest
import torch
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids
from tests.evaluation.material import batch_of, tiny_llama

from heedful.evaluation.gradient import attention_gradients
from heedful.evaluation.objective import Objective

BATCH = batch_of(random_ids(3, 16))
LOSS = Objective("next token")


def test_norms_are_autograds_and_no_grad_is_touched() -> None:
    model = tiny_llama()
    reference = tiny_llama()
    LOSS.losses(reference, BATCH).mean().backward()
    expected = dict(reference.named_parameters())
    kept = model.model.layers[0].self_attn.q_proj.weight
    kept.grad = torch.full_like(kept, 7.0)
    paths = ["model.layers.0.self_attn", "model.layers.1.self_attn"]
    found = attention_gradients(model, LOSS, BATCH, paths)
    assert [g.name for g in found] == [n for n in expected if "self_attn" in n]
    assert [g.layer for g in found] == [0] * 4 + [1] * 4
    for g in found:
        assert g.norm == pytest.approx(float(expected[g.name].grad.double().norm()), rel=1e-4)
        assert g.finite and not g.frozen and g.nonzero > 0.9
    assert (kept.grad == 7).all()
    assert all(p.grad is None for name, p in model.named_parameters() if p is not kept), "no other grad appears"


def test_frozen_parameters_are_named_and_not_measured() -> None:
    model = tiny_llama()
    model.model.layers[0].self_attn.k_proj.weight.requires_grad_(False)
    found = {g.name: g for g in attention_gradients(model, LOSS, BATCH, ["model.layers.0.self_attn"])}
    frozen = found["model.layers.0.self_attn.k_proj.weight"]
    assert frozen.frozen and math.isnan(frozen.norm)
    assert sum(g.frozen for g in found.values()) == 1


def test_what_the_loss_does_not_reach_is_zero() -> None:
    model = PlantedModel(*previous_token_heads(2, 16), fault="dead")
    found = {g.name: g for g in attention_gradients(model, LOSS, BATCH, ["attention"])}
    assert (found["attention.query"].norm, found["attention.query"].nonzero) == (0.0, 0.0)
    assert found["attention.key"].norm > 0


def test_nothing_to_reach_is_no_error() -> None:
    model = PlantedModel(*previous_token_heads(2, 16)).requires_grad_(False)
    assert all(g.frozen for g in attention_gradients(model, LOSS, BATCH, ["attention"]))
    with torch.no_grad():
        assert attention_gradients(model, LOSS, BATCH, []) == []


def test_a_module_called_twice_is_listed_once() -> None:
    model = PlantedModel(*previous_token_heads(2, 16))
    assert len(attention_gradients(model, LOSS, BATCH, ["attention", "attention#2"])) == 3
