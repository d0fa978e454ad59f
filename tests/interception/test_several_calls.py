"""One bad call is not outweighed by good ones, in whatever order they come; and what is told of each is exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.interception.models import inputs_for, nano, result_of, tiny
from torch import Tensor, nn

import heedful

GOOD = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(0)).abs()
BAD = -GOOD
"""Inputs by which the modules below choose what they do: positive ones get attention as it should be."""


class ChoosingAttention(nn.Module):
    """Attention that is one thing for `GOOD` and another for `BAD`."""

    num_heads = 2

    def __init__(self, bad: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.projection, self.bad = nn.Linear(8, 24), bad

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.projection(x).chunk(3, dim=-1))
        if bool((x < 0).any()):
            return self.bad(query, key, value).transpose(1, 2).flatten(2)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def dropped(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Dropout that a module forgot to turn off: what is captured is not what came out."""
    return F.scaled_dot_product_attention(query, key, value, dropout_p=0.5)


def behind_the_back(weights: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Weights changed in place by what no function mode sees, as a kernel of one's own would."""
    with torch._C.DisableTorchFunction():
        change(weights)
    return weights


def squared(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Weights that do not sum to one."""
    return behind_the_back((query @ key.transpose(-1, -2) / 2).softmax(-1), Tensor.square_) @ value


def unseen(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Weights whose product with values is not seen."""
    weights = (query @ key.transpose(-1, -2) / 2).softmax(-1)
    return (weights[..., None] * value[..., None, :, :]).sum(-2)


ORDERS = {"first": (BAD, GOOD), "last": (GOOD, BAD), "in the middle": (GOOD, BAD, GOOD)}


def model_of(bad: Callable[[Tensor, Tensor, Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(ChoosingAttention(bad)).eval()


def run(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return [model(x) for x in inputs]


@pytest.mark.parametrize("inputs", ORDERS.values(), ids=list(ORDERS))
@pytest.mark.parametrize("bad", [dropped, squared])
def test_an_error_stays(bad: Any, inputs: tuple[Tensor, ...]) -> None:
    model = model_of(bad)
    with heedful.capture(model) as session:
        run(model, inputs)
    assert not session.heads()["verified"].any()
    (record,) = session.records.values()
    assert record.error > 0.05
    (proof,) = heedful.verify(model, lambda: run(model, inputs))
    assert not proof.recomputed and proof.error > 0.05 and "recomputed output differs by" in proof.reason
    with heedful.capture(model) as session:
        run(model, (GOOD, GOOD))
    assert session.heads()["verified"].all()


@pytest.mark.parametrize("inputs", ORDERS.values(), ids=list(ORDERS))
def test_an_error_that_is_not_known_stays_so(inputs: tuple[Tensor, ...]) -> None:
    model = model_of(unseen)
    with heedful.capture(model) as session:
        run(model, inputs)
    assert not session.heads()["verified"].any()
    (proof,) = heedful.verify(model, lambda: run(model, inputs))
    assert math.isnan(proof.error) and not proof.recomputed and proof.reason == "no values were seen"


@pytest.mark.parametrize("first", [GOOD, BAD], ids=["good", "bad"])
def test_a_module_that_is_called_twice_in_one_forward(first: Tensor) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model_of(squared)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.inner(x), self.inner(-x)])

    model = Twice()
    with torch.no_grad(), heedful.capture(model) as session:
        model(first)
    assert sorted(session.heads().unique("module")["verified"].to_list()) == [False, True]
    (proof,) = heedful.verify(model, first)
    assert not proof.recomputed and proof.error > 0.05 and proof.replaced


def test_a_head_of_small_values_is_compared_with_itself() -> None:
    """5 % of a head whose output is a ten-thousandth of another's."""

    class UnevenAttention(nn.Module):
        num_heads = 2

        def __init__(self, factor: float) -> None:
            super().__init__()
            self.projection, self.factor = nn.Linear(8, 24), factor

        def forward(self, x: Tensor) -> Tensor:
            query, key, value = (
                part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.projection(x).chunk(3, dim=-1)
            )
            factors = torch.tensor([1.0, self.factor])[:, None, None]
            weights = behind_the_back((query @ key.transpose(-1, -2)).softmax(-1), lambda w: w.mul_(factors))
            return weights @ (value * torch.tensor([1.0, 1e-4])[:, None, None])

    for factor, verified in ((1.0, True), (1.05, False)):
        model = nn.Sequential(UnevenAttention(factor))
        with heedful.capture(model) as session:
            run(model, (GOOD,))
        assert session.heads()["verified"].unique().to_list() == [verified]


SCARCELY = 1e-9
"""A probability of dropping weights that never comes true here: outputs are right, the next might not be."""


def with_dropout() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Models whose attention drops weights in training, with inputs."""
    llama = tiny("llama")
    for layer in llama.model.layers:
        layer.self_attn.attention_dropout = SCARCELY

    class WrittenAttention(nn.Module):
        num_heads = 2

        def __init__(self) -> None:
            super().__init__()
            self.projection, self.drop = nn.Linear(8, 24), nn.Dropout(SCARCELY)

        def forward(self, x: Tensor) -> Tensor:
            query, key, value = (
                part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.projection(x).chunk(3, dim=-1)
            )
            return self.drop((query @ key.transpose(-1, -2)).softmax(-1)) @ value

    class MultiHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, SCARCELY, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x)[0]

    return {
        "attention table": (llama, inputs_for("llama")),
        "sdpa": (nano(dropout=SCARCELY), {"ids": torch.arange(40).view(2, 20)}),
        "written out": (nn.Sequential(WrittenAttention()), {"input": GOOD}),
        "nn.MultiheadAttention": (MultiHead(), {"x": GOOD}),
    }


@pytest.mark.parametrize("way", ["attention table", "sdpa", "written out", "nn.MultiheadAttention"])
def test_dropout_is_not_verified_where_it_happened_to_drop_nothing(way: str) -> None:
    model, inputs = with_dropout()[way]
    for training in (True, False):
        model.train(training)
        with heedful.capture(model) as session:
            result_of(model, inputs)
        assert session.heads()["verified"].unique().to_list() == [not training]
        assert all(record.error < 1e-5 for record in session.records.values())


def test_dropout_that_is_off_by_itself_is_verified() -> None:
    """The module trains, its dropout does not."""
    model, inputs = with_dropout()["written out"]
    model.train()
    model[0].drop.eval()
    with heedful.capture(model) as session:
        result_of(model, inputs)
    assert session.heads()["verified"].all()
