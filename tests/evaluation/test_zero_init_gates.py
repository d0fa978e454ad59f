"""Parameters behind gates that are exactly zero."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import batch_of
from tests.interception.state import digest
from torch import Tensor, nn

from heedful.evaluation.gradient import attention_gradients
from heedful.evaluation.objective import Objective
from heedful.evaluation.zero_init_gates import gates_of


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


OBJECTIVE, BATCH = Objective("next token"), batch_of(random_ids(4, 16))
BEHIND = {"query", "key", "value", "lora_a", "lora_b"}


def with_zero(*names: str, detached: bool = False) -> Gated:
    model = Gated(detached)
    with torch.no_grad():
        for name in names:
            model.get_parameter(f"attention.{name}").zero_()
    return model


def gates(model: nn.Module) -> dict[str, str]:
    found = attention_gradients(model, OBJECTIVE, BATCH, ["attention"])
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
    assert gates_of(with_zero("gate"), OBJECTIVE, BATCH, {}) == {}
