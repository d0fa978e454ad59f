"""A captured model still trains: gradients, dropout and checkpointing are those without capture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.interception.models import inputs_for, nano, tiny
from torch import Tensor

from heedful.interception.session import Session, capture


def gradients(model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    torch.manual_seed(9)
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def captured_gradients(model: Any, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Session]:
    with capture(model) as session:
        found = gradients(model, inputs)
    return found, session


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_gradients_are_equal(name: str, implementation: str) -> None:
    model, inputs = tiny(name, implementation).train(), inputs_for(name)
    expected = gradients(model, inputs)
    found, _ = captured_gradients(model, inputs)
    assert found.keys() == expected.keys() and len(found) == len(list(model.parameters()))
    for parameter, gradient in expected.items():
        assert torch.equal(found[parameter], gradient), parameter


def test_gradients_flow_through_plain_modules() -> None:
    model, ids = nano().train(), torch.arange(40).view(2, 20)
    model(ids).square().mean().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    with capture(model):
        model(ids).square().mean().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert parameter.grad is not None and torch.equal(parameter.grad, gradient)


@pytest.mark.parametrize("build", [lambda: tiny("gpt2").train(), lambda: nano(dropout=0.4).train()])
def test_dropout_draws_the_same_numbers(build: Any) -> None:
    model, ids = build(), torch.arange(40).view(2, 20)
    torch.manual_seed(5)
    expected = model(ids)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    with capture(model):
        found = model(ids)
    first = next(iter(expected.values())) if isinstance(expected, dict) else expected
    other = next(iter(found.values())) if isinstance(found, dict) else found
    assert torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers_are_counted_once(reentrant: bool) -> None:
    model, inputs = tiny("llama").train(), inputs_for("llama")
    expected = gradients(model, inputs)
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": reentrant})
    found, session = captured_gradients(model, inputs)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    assert list(session.records) == ["model.layers.0.self_attn", "model.layers.1.self_attn"]
    assert all(len(record.values["row_entropy"]) == 1 for record in session.records.values())


def test_several_steps_are_gathered() -> None:
    model, inputs = tiny("gpt2").train(), inputs_for("gpt2")
    with capture(model) as session:
        for _ in range(3):
            gradients(model, inputs)
    assert session.heads()["sequences"].unique().to_list() == [9]
