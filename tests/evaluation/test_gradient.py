"""Gradients of attention parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids
from tests.evaluation.material import batch_of, tiny_gpt2, tiny_llama
from tests.interception.state import digest
from torch import Tensor, nn

from heedful.attention.engines.patterns import pattern_output
from heedful.evaluation.ablation import losses_of
from heedful.evaluation.gradient import ExpectedEffects, attention_gradients, gates_of
from heedful.evaluation.objective import Objective
from heedful.interception.intercept import intercept

BATCH = batch_of(random_ids(3, 16))
LOSS = Objective("next token")


def test_norms_are_autograds_and_no_grad_is_touched() -> None:
    model = tiny_llama()
    reference = tiny_llama()
    LOSS.losses(reference, BATCH).mean().backward()
    expected = dict(reference.named_parameters())
    kept = model.model.layers[0].self_attn.q_proj.weight
    kept.grad = torch.full_like(kept, 7.0)
    paths = ["model.layers.0.self_attn", "model.layers.1.self_attn"]
    found = attention_gradients(model, LOSS, BATCH, paths)
    assert [g.name for g in found] == [n for n in expected if "self_attn" in n]
    assert [g.layer for g in found] == [0] * 4 + [1] * 4
    for g in found:
        assert g.norm == pytest.approx(float(expected[g.name].grad.double().norm()), rel=1e-4)
        assert g.finite and not g.frozen and g.nonzero > 0.9
    assert (kept.grad == 7).all()
    assert all(p.grad is None for name, p in model.named_parameters() if p is not kept), "no other grad appears"


def test_frozen_parameters_are_named_and_not_measured() -> None:
    model = tiny_llama()
    model.model.layers[0].self_attn.k_proj.weight.requires_grad_(False)
    found = {g.name: g for g in attention_gradients(model, LOSS, BATCH, ["model.layers.0.self_attn"])}
    frozen = found["model.layers.0.self_attn.k_proj.weight"]
    assert frozen.frozen and math.isnan(frozen.norm)
    assert sum(g.frozen for g in found.values()) == 1


def test_what_the_loss_does_not_reach_is_zero() -> None:
    model = PlantedModel(*previous_token_heads(2, 16), fault="dead")
    found = {g.name: g for g in attention_gradients(model, LOSS, BATCH, ["attention"])}
    assert (found["attention.query"].norm, found["attention.query"].nonzero) == (0.0, 0.0)
    assert found["attention.key"].norm > 0


def test_nothing_to_reach_is_no_error() -> None:
    model = PlantedModel(*previous_token_heads(2, 16)).requires_grad_(False)
    assert all(g.frozen for g in attention_gradients(model, LOSS, BATCH, ["attention"]))
    with torch.no_grad():
        assert attention_gradients(model, LOSS, BATCH, []) == []


def test_a_module_called_twice_is_listed_once() -> None:
    model = PlantedModel(*previous_token_heads(2, 16))
    assert len(attention_gradients(model, LOSS, BATCH, ["attention", "attention#2"])) == 3


class Attention(nn.Module):
    """Causal attention of one head with a low-rank update of its query, an output projection and a gate."""

    def __init__(self, width: int, detached: bool) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.lora_a, self.lora_b = nn.Parameter(torch.randn(2, width)), nn.Parameter(torch.randn(width, 2))
        self.gate = nn.Parameter(torch.ones(1))
        self.detached = detached

    def forward(self, hidden: Tensor) -> Tensor:
        key = self.key(hidden)
        query = self.query(hidden) + hidden @ self.lora_a.T @ self.lora_b.T
        output = F.scaled_dot_product_attention(
            query[:, None],
            (key.detach() if self.detached else key)[:, None],
            self.value(hidden)[:, None],
            is_causal=True,
        )
        return self.gate * self.out(output[:, 0])


class Gated(nn.Module):
    def __init__(self, detached: bool = False) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(24, 16), nn.Linear(16, 24)
        self.attention = Attention(16, detached)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embedding(input_ids)
        return self.head(hidden + self.attention(hidden))


OBJECTIVE, GATE_BATCH = Objective("next token"), batch_of(random_ids(4, 16))
BEHIND = {"query", "key", "value", "lora_a", "lora_b"}


def with_zero(*names: str, detached: bool = False) -> Gated:
    model = Gated(detached)
    with torch.no_grad():
        for name in names:
            model.get_parameter(f"attention.{name}").zero_()
    return model


def gates(model: nn.Module) -> dict[str, str]:
    found = attention_gradients(model, OBJECTIVE, GATE_BATCH, ["attention"])
    short = {g.name.removeprefix("attention.").removesuffix(".weight"): g for g in found}
    return {name: g.gate.removeprefix("attention.") for name, g in short.items() if g.norm == 0.0}


@pytest.mark.parametrize(
    ("zero", "expected"),
    [
        ((), {}),
        (("out.weight",), dict.fromkeys(BEHIND | {"gate"}, "out.weight")),
        (("gate",), dict.fromkeys(BEHIND | {"out"}, "gate")),
        (("lora_b",), {"lora_a": "lora_b"}),
        (("gate", "lora_b"), dict.fromkeys(BEHIND | {"out"}, "gate")),
    ],
    ids=["none", "output projection", "scalar", "second factor", "one behind the other"],
)
def test_each_parameter_without_gradient_names_its_gate(zero: tuple[str, ...], expected: dict[str, str]) -> None:
    model = with_zero(*zero)
    before = digest(model)
    assert gates(model) == expected
    assert digest(model) == before and all(p.grad is None for p in model.parameters())


def test_what_is_cut_off_stays_dead_behind_an_open_gate_and_a_shut_one() -> None:
    assert gates(with_zero(detached=True)) == {"key": ""}
    found = gates(with_zero("out.weight", detached=True))
    assert found.pop("key") == "" and set(found.values()) == {"out.weight"}


def test_a_gate_that_cannot_move_is_none() -> None:
    model = with_zero("gate")
    model.attention.gate.requires_grad_(False)
    assert set(gates(model).values()) == {""}


def test_nothing_is_dead_where_nothing_is_asked() -> None:
    assert gates_of(with_zero("gate"), OBJECTIVE, GATE_BATCH, {}) == {}


EXPECTED_LOSS, EXPECTED_BATCH = Objective("next token"), batch_of(random_ids(10, 16))
PATHS = ["transformer.h.0.attn", "transformer.h.1.attn"]


@pytest.mark.parametrize("frozen", [False, True])
def test_the_effect_is_the_derivative_towards_equal_weights(frozen: bool) -> None:
    model = tiny_gpt2().requires_grad_(not frozen)
    found = ExpectedEffects()
    attention_gradients(model, EXPECTED_LOSS, EXPECTED_BATCH, PATHS, found)
    plain, step = losses_of(model, EXPECTED_LOSS, [EXPECTED_BATCH]), 1e-2
    for path in PATHS:
        for head in range(4):

            def towards(event: object, path: str = path, head: int = head) -> torch.Tensor:
                output = event.run(None).clone()
                if event.path == path:
                    output[:, head] += step * (pattern_output(event.call, "uniform") - output)[:, head]
                return output

            with torch.no_grad(), intercept(model, towards):
                moved = losses_of(model, EXPECTED_LOSS, [EXPECTED_BATCH])
            effects = np.concatenate(found.effects[path])[:, head]
            np.testing.assert_allclose((moved - plain) / step, effects, atol=2e-3 + 0.1 * np.abs(effects).max())
        first = np.concatenate(found.effects[path])
        np.testing.assert_allclose(found.heads(path), (first + 15 / 2 * first**2).mean(0))
        whole = first.sum(1)
        assert found.layer(path) == pytest.approx((whole + 15 / 2 * whole**2).mean())


def test_gradients_are_those_of_one_backward_of_the_whole_batch() -> None:
    model = tiny_gpt2()
    parts = attention_gradients(model, EXPECTED_LOSS, EXPECTED_BATCH, PATHS, ExpectedEffects())
    names = dict(model.named_parameters())
    whole = torch.autograd.grad(EXPECTED_LOSS.losses(model, EXPECTED_BATCH).mean(), [names[one.name] for one in parts])
    for one, gradient in zip(parts, whole, strict=True):
        assert one.norm == pytest.approx(float(gradient.norm()), rel=1e-4), one.name
    assert all(parameter.grad is None for parameter in model.parameters())
