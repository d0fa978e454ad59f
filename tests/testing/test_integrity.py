"""Each assertion on models that are sound, on a planted fault, and where nothing can be said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.pattern_models import PatternModel, nothing, own_token
from tests.evaluation.checks.planted import (
    PlantedModel,
    alternating_ids,
    previous_token_heads,
    random_ids,
    uniform_heads,
)
from torch import nn

import heedful.testing as testing
from heedful.errors import UsageError
from heedful.loading.given_sequences import as_sequences
from heedful.testing.integrity import assert_attention_used, assert_not_collapsed

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


def test_heads_that_choose_have_not_collapsed() -> None:
    found = assert_not_collapsed(PatternModel(own_token), random_ids(20, 32))
    assert (found.estimate, found.n) == (0.0, 20)


def test_uniform_heads_have_collapsed_and_are_named() -> None:
    message = r"does not hold: 2 of 2 heads are within 0.05 nats of uniform over 20 documents: L0H0, L0H1 \(1 share"
    with pytest.raises(AssertionError, match=message):
        assert_not_collapsed(PatternModel(nothing), random_ids(20, 32))


def test_the_share_decides() -> None:
    model = PatternModel(own_token, nothing)
    assert assert_not_collapsed(model, random_ids(20, 32), most=0.5).estimate == 0.5
    with pytest.raises(AssertionError, match=r"2 of 4 heads .*: L1H0, L1H1"):
        assert_not_collapsed(model, random_ids(20, 32), most=0.25)


@pytest.mark.parametrize(
    ("count", "length", "said"),
    [(6, 32, "insufficient data: 6 documents, at least 16 are needed"), (20, 7, "undefined: no row of this head sees")],
)
def test_too_little_text_does_not_pass(count: int, length: int, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        assert_not_collapsed(PatternModel(own_token), random_ids(count, length))


@pytest.mark.parametrize("options", [{"most": 1.0}, {"most": -0.1}, {"margin": 0.0}, {"margin": 0.6}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        assert_not_collapsed(PatternModel(own_token), random_ids(4, 32), **options)  # type: ignore[arg-type]


def test_a_model_that_reads_what_it_needs_uses_attention() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    found = assert_attention_used(model, alternating_ids(20, 32))
    assert found.n == 20 and found.interval is not None and found.interval[0] > 0.01
    assert assert_attention_used(model, alternating_ids(20, 32), replacement="uniform").estimate != found.estimate


def test_attention_whose_output_is_lost_is_unused() -> None:
    model = PlantedModel(*previous_token_heads(2, 32), fault="unused")
    with pytest.raises(
        AssertionError, match=r"^attention is used: does not hold: attention's output removed: .* 20 units"
    ):
        assert_attention_used(model, alternating_ids(20, 32))


def test_a_uniform_head_does_nothing_that_equal_weights_do_not() -> None:
    with pytest.raises(AssertionError, match=r"equal weights on every visible key"):
        assert_attention_used(PatternModel(nothing), random_ids(20, 32), replacement="uniform")


def test_few_documents_are_insufficient_data_however_many_sequences_they_give() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    with pytest.raises(AssertionError, match=r"insufficient data: .* rests on 8 units; at least 16 are needed"):
        assert_attention_used(model, alternating_ids(8, 32))
    cut = as_sequences(alternating_ids(32, 32), documents=[index // 4 for index in range(32)])
    with pytest.raises(AssertionError, match=r"insufficient data: .* rests on 8 units"):
        assert_attention_used(model, cut)
    assert assert_attention_used(model, cut, least_documents=8).n == 8
    with pytest.raises(AssertionError, match=r"insufficient data: 1 sequence"):
        assert_attention_used(model, alternating_ids(1, 32))


def test_a_model_without_a_loss_is_not_judged() -> None:
    with pytest.raises(AssertionError, match=r"attention is used: not judged: .*has no loss"):
        assert_attention_used(PatternModel(own_token, causal=False), random_ids(20, 32))


@pytest.mark.parametrize("options", [{"replacement": "nothing"}, {"margin": 0.0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        assert_attention_used(PatternModel(own_token), random_ids(4, 32), **options)  # type: ignore[arg-type]
