"""The output layer is left out where that is shown to be the same, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import batch_of, tiny_bert, tiny_gpt2, tiny_llama
from torch import nn

from heedful.evaluation.objective import Objective
from heedful.evaluation.output_layer import ROWS, losses_of_hidden, output_layer, token_losses

BATCH = batch_of(random_ids(3, 16))


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama, tiny_bert])
def test_losses_without_whole_logits_are_the_same(build: Callable[[], nn.Module]) -> None:
    model = build()
    layer = output_layer(model, BATCH)
    assert layer is not None and layer.width == 24
    for name in ("next token", "masked token"):
        with torch.no_grad():
            whole = Objective(name, mask_token=2).losses(model, BATCH)
            torch.testing.assert_close(Objective(name, mask_token=2, layer=layer).losses(model, BATCH), whole)
    assert not layer.module._forward_pre_hooks
    assert Objective("next token", layer=layer).losses(model, BATCH).requires_grad


class Scaled(nn.Module):
    """Logits that are more than what the last layer gives."""

    def __init__(self, scale: float = 2.0, needs_all: bool = False) -> None:
        super().__init__()
        self.inner, self.scale, self.needs_all = tiny_gpt2(), scale, needs_all

    def forward(self, input_ids: torch.Tensor) -> Any:
        logits = self.inner(input_ids=input_ids).logits
        if self.needs_all and logits.shape[1] != input_ids.shape[1]:
            raise ValueError("logits of every token")
        return self.scale * logits


def test_whatever_is_done_to_logits_forbids_it() -> None:
    assert output_layer(Scaled(1.0), BATCH) is not None
    assert output_layer(Scaled(), BATCH) is None
    assert output_layer(Scaled(1.0, needs_all=True), BATCH) is None
    hooked = tiny_gpt2()
    hooked.lm_head.register_forward_hook(lambda module, args, output: output)
    assert output_layer(hooked, BATCH) is None


def test_a_model_of_hidden_states_has_none() -> None:
    assert output_layer(tiny_gpt2().transformer, BATCH) is None


def test_losses_are_those_of_cross_entropy_and_leave_the_logits_alone() -> None:
    logits, targets = 5 * torch.randn(3, ROWS - 1, 17), torch.randint(17, (3, ROWS - 1))
    before = logits.clone()
    found = token_losses(logits, targets)
    expected = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    torch.testing.assert_close(found, expected)
    assert torch.equal(logits, before)
    half = token_losses(logits.bfloat16(), targets)
    torch.testing.assert_close(
        half, F.cross_entropy(logits.bfloat16().float().transpose(1, 2), targets, reduction="none")
    )


def test_hidden_states_give_the_same_by_their_output_layer() -> None:
    layer, hidden, targets = torch.nn.Linear(8, 17), torch.randn(2, ROWS, 8), torch.randint(17, (2, ROWS))
    with torch.no_grad():
        torch.testing.assert_close(
            losses_of_hidden(hidden, targets, layer.forward), token_losses(layer(hidden), targets)
        )


def test_logits_that_are_not_finite_give_losses_that_are_not() -> None:
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 1], logits[0, 1, 2] = torch.nan, torch.inf
    assert token_losses(logits, torch.zeros(1, 3, dtype=torch.long)).isfinite().tolist() == [[False, False, True]]
