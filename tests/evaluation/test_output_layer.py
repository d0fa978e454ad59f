"""The output layer is left out where that is shown to be the same, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import batch_of, tiny_bert, tiny_gpt2, tiny_llama
from torch import nn

from heedful.evaluation.objective import Objective
from heedful.evaluation.output_layer import output_layer

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
