"""Losses with attention replaced, against doing it by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, own_token
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import batch_of, tiny_gpt2
from torch import Tensor

from heedful.evaluation.ablation import ARMS, ablated_losses, losses_of
from heedful.evaluation.objective import Objective

LOSS = Objective("next token")
IDS = random_ids(5, 20)
BATCHES = [batch_of(IDS[:3]), batch_of(IDS[3:])]


def loss_of_reading(weights: Tensor, ids: Tensor, gain: float = 12.0) -> np.ndarray:
    """Loss of a planted model whose every head has these weights ``(sequence, query, key)``."""
    logits = gain * weights @ F.one_hot(ids, 24).float()
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none").mean(1).numpy()


def learned(ids: Tensor) -> Tensor:
    logits = own_token(ids)[:, 0].masked_fill(torch.ones(20, 20).triu(1).bool(), -torch.inf)
    return logits.softmax(-1)


def by_hand(arm: str, ids: Tensor) -> Tensor:
    causal = torch.ones(20, 20).tril()
    distance = torch.arange(20)[:, None] - torch.arange(20)[None, :]
    weights = {
        "zero": torch.zeros(len(ids), 20, 20),
        "uniform": causal.expand(len(ids), -1, -1),
        "local": (causal * (distance <= 5)).expand(len(ids), -1, -1),
        "mean": learned(ids).sum(0, keepdim=True) - learned(ids),
        "shuffled": learned(ids).roll(1, 0),
    }[arm]
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_its_pattern_put_in_by_hand(arm: str) -> None:
    """Neighbours in a batch have other tokens, so that the mean and another's pattern are not the learned one."""
    model, ticks = PatternModel(own_token), []
    found = ablated_losses(model, LOSS, BATCHES, arm, tick=lambda: ticks.append(1))
    expected = [loss_of_reading(by_hand(arm, batch.input_ids), batch.input_ids) for batch in BATCHES]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-5)
    assert len(ticks) == 2
    plain = losses_of(model, LOSS, BATCHES)
    np.testing.assert_allclose(plain, loss_of_reading(learned(IDS), IDS), atol=1e-5)
    assert np.abs(found - plain).max() > 0.01


def test_the_zero_arm_is_a_model_whose_attention_writes_nothing() -> None:
    model, silent = tiny_gpt2(), tiny_gpt2()
    with torch.no_grad():
        for block in silent.transformer.h:
            block.attn.c_proj.weight.zero_()
    np.testing.assert_allclose(
        ablated_losses(model, LOSS, BATCHES, "zero"), losses_of(silent, LOSS, BATCHES), rtol=0, atol=1e-5
    )


def test_one_layer_and_one_head_alone() -> None:
    model = PatternModel(own_token, induction_keys)
    whole = losses_of(model, LOSS, BATCHES)
    first = ablated_losses(model, LOSS, BATCHES, "uniform", layers=["layers.0"])
    head = ablated_losses(model, LOSS, BATCHES, "uniform", layers=["layers.0"], heads=[1])
    both = ablated_losses(model, LOSS, BATCHES, "uniform", layers=["layers.0"], heads=[0, 1])
    np.testing.assert_allclose(first, both, atol=1e-6)
    assert np.abs(first - whole).max() > np.abs(head - whole).max() / 4 > 1e-4
    np.testing.assert_allclose(losses_of(model, LOSS, BATCHES), whole, atol=0)
