"""Expected costs of equal weights: first order exact for small moves, curvature added, gradients unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import batch_of, tiny_gpt2

from heedful.attention.engines.patterns import pattern_output
from heedful.evaluation.ablation import losses_of
from heedful.evaluation.expected_effects import ExpectedEffects
from heedful.evaluation.gradient import attention_gradients
from heedful.evaluation.objective import Objective
from heedful.interception.intercept import intercept

LOSS, BATCH = Objective("next token"), batch_of(random_ids(10, 16))
PATHS = ["transformer.h.0.attn", "transformer.h.1.attn"]


@pytest.mark.parametrize("frozen", [False, True])
def test_the_effect_is_the_derivative_towards_equal_weights(frozen: bool) -> None:
    model = tiny_gpt2().requires_grad_(not frozen)
    found = ExpectedEffects()
    attention_gradients(model, LOSS, BATCH, PATHS, found)
    plain, step = losses_of(model, LOSS, [BATCH]), 1e-2
    for path in PATHS:
        for head in range(4):

            def towards(event: object, path: str = path, head: int = head) -> torch.Tensor:
                output = event.run(None).clone()
                if event.path == path:
                    output[:, head] += step * (pattern_output(event.call, "uniform") - output)[:, head]
                return output

            with torch.no_grad(), intercept(model, towards):
                moved = losses_of(model, LOSS, [BATCH])
            effects = np.concatenate(found.effects[path])[:, head]
            np.testing.assert_allclose((moved - plain) / step, effects, atol=2e-3 + 0.1 * np.abs(effects).max())
        first = np.concatenate(found.effects[path])
        np.testing.assert_allclose(found.heads(path), (first + 15 / 2 * first**2).mean(0))
        whole = first.sum(1)
        assert found.layer(path) == pytest.approx((whole + 15 / 2 * whole**2).mean())


def test_gradients_are_those_of_one_backward_of_the_whole_batch() -> None:
    model = tiny_gpt2()
    parts = attention_gradients(model, LOSS, BATCH, PATHS, ExpectedEffects())
    names = dict(model.named_parameters())
    whole = torch.autograd.grad(LOSS.losses(model, BATCH).mean(), [names[one.name] for one in parts])
    for one, gradient in zip(parts, whole, strict=True):
        assert one.norm == pytest.approx(float(gradient.norm()), rel=1e-4), one.name
    assert all(parameter.grad is None for parameter in model.parameters())
