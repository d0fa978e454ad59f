"""Losses in blocks are those of torch, whatever the blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from heedful.evaluation.token_losses import ROWS, losses_of_hidden, token_losses


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
