"""Proofs of a capture: what passes, what fails, and what cannot be known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.interception.interceptors.test_softmax import FORMS, WrittenAttention, X, unseen, written_out
from tests.interception.models import KernelModel, inputs_for, nano, tiny
from tests.interception.state import snapshot
from torch import Tensor, nn

from heedful.interception.verify import verify


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "vit", "albert"])
def test_models_that_are_proved(name: str) -> None:
    model = tiny(name).train()
    before = snapshot(model)
    proofs = verify(model, inputs_for(name))
    assert snapshot(model) == before
    assert len(proofs) == (1 if name == "albert" else 2)
    for proof in proofs:
        assert proof.recomputed and proof.replaced and proof.reason == "" and proof.heads == 4
        assert proof.error < 1e-5 < 1e-3 < proof.moved


def test_ways_of_giving_inputs() -> None:
    ids = torch.arange(20)[None]
    model = nano()
    first = verify(model, ids)
    assert first == verify(model, (ids,)) == verify(model, {"ids": ids}) == verify(model, lambda: model(ids))
    assert [proof.path for proof in first] == ["blocks.0", "blocks.1"]


def test_attention_written_out() -> None:
    assert all(proof.recomputed and proof.replaced for proof in verify(written_out("bloom"), inputs_for("gpt2")))


def test_a_module_without_consequence_is_not_proved() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = WrittenAttention(FORMS["operator"])

        def forward(self, x: Tensor) -> Tensor:
            return x + 0 * self.attention(x)

    (proof,) = verify(Idle(), X)
    assert proof.recomputed and not proof.replaced and proof.moved == 0
    assert proof.reason == "the model's output does not change without it"


def test_a_wrong_recomputation_is_not_proved() -> None:
    model = nn.Sequential(WrittenAttention(lambda logits, value: logits.softmax(-1) ** 2 @ value))
    (proof,) = verify(model, X)
    assert not proof.recomputed and not proof.replaced and "changed between the softmax and the values" in proof.reason


def test_an_output_that_is_not_seen_is_not_known() -> None:
    (proof,) = verify(nn.Sequential(WrittenAttention(unseen)), X)
    assert math.isnan(proof.error) and math.isnan(proof.moved) and not proof.recomputed and not proof.replaced
    assert proof.way == "softmax alone" and proof.reason == "no values were seen"


def test_attention_that_is_not_met_is_listed() -> None:
    proofs = verify(KernelModel(), {"ids": torch.arange(20)[None]})
    assert [(proof.path, proof.way, proof.heads) for proof in proofs] == [("blocks.0", "", 0), ("blocks.1", "", 0)]
    assert "no attention call of it was seen" in proofs[0].reason
    assert verify(nn.Linear(8, 8), X) == []


def test_random_models_are_compared_with_themselves() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = WrittenAttention(FORMS["operator"])

        def forward(self, x: Tensor) -> Any:
            return self.inner(x + torch.randn_like(x)) * 0

    model = Noisy()
    state = torch.get_rng_state()
    (proof,) = verify(model, X)
    assert not proof.replaced and torch.equal(torch.get_rng_state(), state)
