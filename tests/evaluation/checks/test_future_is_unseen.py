"""Causality, by masks and by changing a later token."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids
from torch import nn

from heedful.evaluation.checks.future_is_unseen import future_is_unseen
from heedful.inference.verdict import Verdict


class LeakBesideAttention(nn.Module):
    """Causal attention, and a mean over the whole sequence added to it: no mask shows the leak."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.inner, self.share = PlantedModel(*previous_token_heads(2, 32)), share

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.inner(input_ids) + self.share * self.inner.embedding(input_ids).mean(1, keepdim=True)


def test_a_causal_model_passes_with_no_change_at_all() -> None:
    (found,) = judged(future_is_unseen, PlantedModel(*previous_token_heads(2, 32)), random_ids(4, 32))
    assert found.verdict is Verdict.PASS
    assert found.estimate == 0.0


def test_a_mask_that_shows_the_future_fails() -> None:
    model = PlantedModel(*previous_token_heads(2, 32), fault="leak")
    (found,) = judged(future_is_unseen, model, random_ids(4, 32), causal=True)
    assert found.verdict is Verdict.FAIL
    assert "masks leave later keys visible in 1 of 1 layers" in found.reason


@pytest.mark.parametrize("share", [1.0, 1e-3])
def test_a_leak_that_no_mask_shows_fails(share: float) -> None:
    (found,) = judged(future_is_unseen, LeakBesideAttention(share), random_ids(4, 32))
    assert found.verdict is Verdict.FAIL
    assert "moved earlier outputs" in found.reason
    assert "masks" not in found.reason


def test_a_leak_in_half_precision_fails_too() -> None:
    """An outward change of a hundredth of the largest output is no rounding, whatever the dtype."""
    (found,) = judged(future_is_unseen, LeakBesideAttention(12.0).to(torch.bfloat16), random_ids(4, 32), causal=True)
    assert found.verdict is Verdict.FAIL


def test_a_model_that_sees_both_ways_is_not_judged() -> None:
    (found,) = judged(future_is_unseen, PatternModel(nothing, causal=False), random_ids(4, 32))
    assert found.verdict is Verdict.SKIP


def test_a_change_that_moves_nothing_is_said_to_prove_nothing() -> None:
    (found,) = judged(future_is_unseen, PlantedModel(*previous_token_heads(2, 32)), torch.full((4, 32), 3))
    assert found.verdict is Verdict.PASS
    assert "only the masks speak" in found.reason
