"""Later tokens changed, earlier outputs compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids
from tests.evaluation.material import batch_of, tiny_bert, tiny_gpt2, tiny_llama
from torch import nn

from heedful.evaluation.perturbation import future_leaks


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama])
def test_a_causal_model_gives_exactly_zero_before_and_something_after(build: Callable[[], nn.Module]) -> None:
    leaks = future_leaks(build(), batch_of(random_ids(3, 32)))
    assert [leak.position for leak in leaks] == [7, 15, 23, 31]
    assert [leak.before for leak in leaks] == [0.0] * 4
    assert all(leak.after > 0 for leak in leaks)


def leaking_model() -> nn.Module:
    return PlantedModel(*previous_token_heads(2, 32, strength=2.0), fault="leak")


@pytest.mark.parametrize("build", [leaking_model, tiny_bert])
def test_a_model_that_sees_the_future_is_caught_wherever_a_token_changes(build: Callable[[], nn.Module]) -> None:
    assert min(leak.before for leak in future_leaks(build(), batch_of(random_ids(3, 32)))) > 5e-5


def test_padding_ends_the_sequence() -> None:
    mask = torch.ones(2, 32, dtype=torch.long)
    mask[1, 20:] = 0
    leaks = future_leaks(tiny_gpt2(), batch_of(random_ids(2, 32), mask))
    assert [leak.position for leak in leaks] == [4, 9, 14, 19]


def test_tokens_that_cannot_change_move_nothing() -> None:
    leaks = future_leaks(tiny_gpt2(), batch_of(torch.full((2, 16), 5)))
    assert [(leak.before, leak.after) for leak in leaks] == [(0.0, 0.0)] * 4


def test_sequences_of_two_tokens_have_one_place() -> None:
    assert {leak.position for leak in future_leaks(tiny_gpt2(), batch_of(random_ids(2, 2)))} == {1}
