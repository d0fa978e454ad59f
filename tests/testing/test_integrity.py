"""Each assertion on models that are sound, on a planted fault, and where nothing can be said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.pattern_models import PatternModel, own_token
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids, uniform_heads
from torch import nn

import heedful.testing as testing

IDS = random_ids(4, 32)


def planted(fault: str = "") -> nn.Module:
    return PlantedModel(*previous_token_heads(2, 32), fault=fault)


class NoAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 24)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.embedding(input_ids)


class Dropping(NoAttention):
    """A kernel that drops weights always: it cannot be asked for its row sums."""

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(input_ids)[:, None]
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.1, is_causal=True)[:, 0]


ALL = [
    testing.assert_causal,
    testing.assert_rows_sum_to_one,
    testing.assert_finite,
    testing.assert_gradients_reach_attention,
    testing.assert_capture_matches,
]


@pytest.mark.parametrize("check", ALL)
def test_a_sound_model_holds_and_is_left_as_it_was(check: Callable[..., object]) -> None:
    model = planted().train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    found = check(model, IDS)
    assert found.verdict == "PASS" and found.estimate is not None  # type: ignore[attr-defined]
    assert model.training
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("check", ALL)
def test_a_model_without_attention_is_not_judged(check: Callable[..., object]) -> None:
    with pytest.raises(AssertionError, match=r"no attention call was captured"):
        check(NoAttention(), IDS)


@pytest.mark.parametrize(
    ("check", "fault", "said"),
    [
        (
            testing.assert_causal,
            "leak",
            r"^attention is causal: does not hold: .*masks leave later keys visible in 1 of 1",
        ),
        (testing.assert_finite, "nan logits", r"^attention is finite: does not hold: .*rows"),
        (
            testing.assert_gradients_reach_attention,
            "dead",
            r"^gradients reach attention: does not hold: zero everywhere in 1: attention.query \(0.667 share reached",
        ),
    ],
)
def test_a_planted_fault_is_told_in_one_sentence(check: Callable[..., object], fault: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said) as caught:
        check(planted(fault), IDS)
    assert "\n" not in str(caught.value)


def test_a_later_token_that_moves_earlier_outputs_is_told_by_how_much() -> None:
    model = PlantedModel(*uniform_heads(2, 32), fault="leak")
    with pytest.raises(AssertionError, match=r"changing token \d+ moved earlier outputs by .* change, limit 1e-06\)$"):
        testing.assert_causal(model, IDS)


def test_rows_that_are_not_finite_have_no_sum() -> None:
    model = PlantedModel(*previous_token_heads(1, 32), fault="nan logits")
    with pytest.raises(AssertionError, match=r"^rows sum to one: undefined: no row with finite weights"):
        testing.assert_rows_sum_to_one(model, IDS)


def test_a_kernel_that_does_something_else(misnormalised_llama: nn.Module) -> None:
    with pytest.raises(
        AssertionError, match=r"rows sum to one: does not hold: 2 of 2 layers .*\(0.1 mass, limit 1e-05"
    ):
        testing.assert_rows_sum_to_one(misnormalised_llama, IDS)
    with pytest.raises(
        AssertionError, match=r"the capture matches the output: not shown: 2 of 2 layers have outputs that differ"
    ):
        testing.assert_capture_matches(misnormalised_llama, IDS)


def test_parameters_that_are_not_finite() -> None:
    model = planted()
    with torch.no_grad():
        model.attention.query[0, 0, 0] = float("inf")  # type: ignore[union-attr, index]
    with pytest.raises(AssertionError, match=r"non-finite parameters in 1 tensors: attention.query"):
        testing.assert_finite(model, IDS)


def test_what_cannot_be_judged_does_not_pass() -> None:
    with pytest.raises(AssertionError, match=r"not judged: no kernel could be run again"):
        testing.assert_rows_sum_to_one(Dropping(), IDS)
    with pytest.raises(AssertionError, match=r"undefined: a sequence of one token has no future"):
        testing.assert_causal(planted(), IDS[:, :1])
    with pytest.raises(AssertionError, match=r"not judged: all are frozen"):
        testing.assert_gradients_reach_attention(planted().requires_grad_(False), IDS)
    with pytest.raises(AssertionError, match=r"not judged: .*has no loss"):
        testing.assert_gradients_reach_attention(PatternModel(own_token, causal=False), IDS)
