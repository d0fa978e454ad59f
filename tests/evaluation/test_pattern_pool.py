"""The mean pattern of a fixed pool: the same whatever the batch, and never a sequence's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.evaluation.checks.pattern_models import PatternModel, own_token
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.evaluation.material import tiny_gpt2, tiny_llama
from tests.evaluation.test_ablation import learned, loss_of_reading

from heedful.attention.engines.dense import dense_weights
from heedful.errors import ResourceLimit
from heedful.evaluation import pattern_pool as module
from heedful.evaluation.ablation import ablated_losses
from heedful.evaluation.batches import batches_of
from heedful.evaluation.objective import Objective
from heedful.evaluation.pattern_pool import pattern_pool
from heedful.evaluation.running import evaluating
from heedful.interception.intercept import intercept

LOSS = Objective("next token")


@pytest.mark.parametrize("count", [6, 40])
def test_a_pool_gives_each_sequence_the_mean_of_other_documents(count: int) -> None:
    model, ids = PatternModel(own_token), random_ids(count, 20)
    pool = pattern_pool(model, sequences_of(ids), 2048)
    size = min(16, count // 2)
    assert pool.documents == (size, size) and pool.second.tolist() == [k < size for k in range(count)]
    means = [learned(ids[part]).sum(0) for part in (slice(0, size), slice(size, 2 * size))]
    for place, mean in enumerate(means):
        torch.testing.assert_close(pool.sums["layers.0"][place, 0], mean, atol=1e-5, rtol=0)
    weights = torch.stack([means[int(k < size)] for k in range(count)])
    expected = loss_of_reading(weights / weights.sum(-1, keepdim=True), ids)
    found = ablated_losses(model, LOSS, batches_of(model, sequences_of(ids), 2048), "mean", pool=pool)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
def test_the_arm_is_the_same_whatever_the_batch(make) -> None:  # type: ignore[no-untyped-def]
    """With two sequences to a batch the mean of the others was the other sequence's pattern: the shuffled arm."""
    model, sequences = make(), sequences_of(random_ids(12, 32))
    with evaluating(model):
        pool = pattern_pool(model, sequences, 2048)
        small, large = (batches_of(model, sequences, tokens) for tokens in (64, 2048))
        assert (len(small), len(large)) == (6, 1)
        fixed = [ablated_losses(model, LOSS, batches, "mean", pool=pool) for batches in (small, large)]
        np.testing.assert_allclose(fixed[0], fixed[1], atol=1e-5)
        of_batch = [ablated_losses(model, LOSS, batches, "mean") for batches in (small, large)]
        np.testing.assert_allclose(of_batch[0], ablated_losses(model, LOSS, small, "shuffled"), atol=1e-5)
        other = pattern_pool(model, sequences, 64)
    for path, sums in pool.sums.items():
        torch.testing.assert_close(sums, other.sums[path], atol=1e-5, rtol=1e-4)


def test_the_sums_are_those_of_the_learned_weights() -> None:
    model, sequences, seen = tiny_llama(), sequences_of(random_ids(8, 24)), []
    with evaluating(model), torch.no_grad():
        pool = pattern_pool(model, sequences, 2048)
        with intercept(model, lambda event: seen.append((event.path, dense_weights(event.call)))):
            model(sequences.input_ids[:4])
    for path, weights in seen:
        torch.testing.assert_close(pool.sums[path][0], weights.float().sum(0), atol=1e-5, rtol=0)


def test_what_does_not_fit_is_said_and_one_document_has_no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_gpt2()
    assert "too few documents" in pattern_pool(model, sequences_of(random_ids(1, 24)), 2048).description

    def refuse(*args: object, **options: object) -> None:
        raise ResourceLimit("mean patterns: needs much")

    monkeypatch.setattr(module, "ensure_fits", refuse)
    pool = pattern_pool(model, sequences_of(random_ids(8, 24)), 2048)
    assert not pool.sums and "does not fit: mean patterns: needs much" in pool.description
