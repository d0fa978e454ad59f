"""The first forward: what a model must offer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from heedful.errors import InputRejected
from heedful.evaluation.trial import try_model


class Answering(nn.Module):
    """Returns what it is told to, as a function of the ids."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.weight, self.seen = answer, nn.Parameter(torch.ones(1)), []

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
        self.seen.append((self.training, targets is not None))
        return self.answer(idx)


SEQUENCES: Any = SimpleNamespace(
    input_ids=torch.arange(40).view(5, 8),
    attention_mask=torch.ones(5, 8, dtype=torch.long),
    special=torch.zeros(5, 8, dtype=torch.bool),
    punctuation=torch.zeros(5, 8, dtype=torch.bool),
)


def full(ids: torch.Tensor) -> torch.Tensor:
    return torch.zeros(*ids.shape, 48)


@pytest.mark.parametrize(
    "answer",
    [
        full,
        lambda ids: (full(ids), torch.zeros(())),
        lambda ids: SimpleNamespace(logits=full(ids)),
        lambda ids: {"last_hidden_state": full(ids)},
    ],
)
def test_logits_and_hidden_states_are_taken(answer: Any) -> None:
    model = Answering(answer).train()
    try_model(model, SEQUENCES, "mine")
    assert model.seen == [(False, True)] and model.training


def raising(ids: torch.Tensor) -> torch.Tensor:
    raise IndexError("index out of range\nin self")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda ids: None, "returned None"),
        (lambda ids: (), "a tuple of nothing"),
        (lambda ids: "words", "a str"),
        (lambda ids: (torch.zeros(()),), "a tuple of Tensor"),
        (lambda ids: torch.zeros(2, 48), "a tensor (2, 48) for token ids (2, 8)"),
        (lambda ids: full(ids)[:, -1:], "a tensor (2, 1, 48) for token ids (2, 8)"),
        (lambda ids: full(ids).long(), "a tensor (2, 8, 48)"),
        (raising, "forward raised on token ids (2, 8) up to 15: IndexError: index out of range in self"),
    ],
)
def test_anything_else_is_refused_in_one_line(answer: Any, says: str) -> None:
    model = Answering(answer).train()
    with pytest.raises(InputRejected) as caught:
        try_model(model, SEQUENCES, "mine")
    assert says in str(caught.value) and str(caught.value).startswith("mine: ") and "\n" not in str(caught.value)
    assert model.training
