"""Losses with attention replaced, against doing it by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, own_token
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import batch_of, tiny_gpt2
from tests.evaluation.test_ablation_judging import study_with
from torch import Tensor

from heedful.errors import UsageError
from heedful.evaluation.ablation import ARMS, ablated_losses, interim_ends, losses_of
from heedful.evaluation.ablation_judging import interim_facts, over_documents
from heedful.evaluation.calibration.losses import study_with_interim_analyses
from heedful.evaluation.checks.learned_weights_matter import learned_weights_matter
from heedful.evaluation.objective import Objective
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict

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


INTERIM_ARMS = ("uniform", "local", "mean", "shuffled", "zero")


def arms_of(**means: float) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0).normal(size=64)
    noise -= noise.mean()
    return {arm: means.get(arm, 0.5) + 0.01 * noise for arm in INTERIM_ARMS}


def test_looks_double_and_end_with_whole_batches() -> None:
    study = study_with_interim_analyses(arms_of(), 5)
    assert interim_ends(study.batches, 5) == (4, 8, 16, 32, 64)
    assert interim_ends(study.batches, 1) == (64,)
    assert interim_ends(study.batches[:3], 5) == (2, 4, 6)


def test_a_plain_effect_stops_at_the_first_look_with_documents_enough_and_the_rest_is_not_read() -> None:
    study = study_with_interim_analyses(arms_of(local=0.0125), 5)
    assert interim_facts(study, study.whole_model["uniform"]) == {
        "look": 3, "looks": 5, "sequences": 16, "sequences_planned": 64,
    }  # fmt: skip
    assert np.isnan(study.whole_model["uniform"][16:]).all() and not np.isnan(study.whole_model["uniform"][:16]).any()
    assert interim_facts(study, study.whole_model["local"])["look"] > 3, "too near the margin to stop so early"


def test_verdicts_by_looks_are_those_of_all_text_and_say_what_they_rest_on() -> None:
    for mean, verdict in ((0.5, Verdict.PASS), (0.0, Verdict.ABSENT), (0.0101, Verdict.WARN)):
        found = learned_weights_matter(study_with_interim_analyses(arms_of(uniform=mean), 5))[0]
        whole = learned_weights_matter(study_with_interim_analyses(arms_of(uniform=mean), 1))[0]
        assert found.verdict is whole.verdict is verdict
        assert found.n == found.detail["sequences"] <= whole.n == 64
        assert "look" not in whole.detail


def test_intervals_by_looks_are_wider_than_those_of_the_same_documents() -> None:
    study = study_with_interim_analyses(arms_of(), 5)
    looked = over_documents(study, study.whole_model["uniform"])
    plain = over_documents(study_with({"uniform": 0.5}), study.whole_model["uniform"][:16])
    assert int(looked.units) == 16
    assert float(looked.high) - float(looked.low) > 2 * (float(plain.high) - float(plain.low))


def test_looks_are_between_one_and_eight() -> None:
    with pytest.raises(UsageError, match="interim analyses: expected 1 to 8, got 0"):
        Settings(interim_analyses=0)
