"""Plain modules that call ``scaled_dot_product_attention``: nanoGPT style, ranks, masks, and what is out of probed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.interception.models import nano
from tests.oracles.attention_statistics import head_statistics
from torch import Tensor, nn

from heedful.interception.replace import replace
from heedful.interception.session import Session, capture

IDS = torch.arange(40).view(2, 20) % 61


def explicit_weights(model: Any, layer: int) -> Tensor:
    """The weights of one layer of the plain model, written out."""
    x = model.wte(IDS) + model.wpe(torch.arange(20))
    for index, block in enumerate(model.blocks):
        query, key, _ = (part.view(2, 20, 4, 8).transpose(1, 2) for part in block.c_attn(x).split(32, dim=2))
        logits = (query @ key.transpose(-1, -2)) / 8**0.5
        if index == layer:
            return torch.softmax(logits.masked_fill(torch.ones(20, 20).triu(1).bool(), -torch.inf), dim=-1)
        x = x + block(x)
    raise IndexError(layer)


def test_nano_model() -> None:
    model = nano()
    with torch.no_grad():
        plain = model(IDS)
        with capture(model) as session:
            assert torch.equal(model(IDS), plain)
        frame = session.heads()
        assert frame["module"].unique(maintain_order=True).to_list() == ["blocks.0", "blocks.1"]
        assert frame["verified"].all() and session.not_captured == {}
        for layer in range(2):
            for name, expected in head_statistics(explicit_weights(model, layer)).items():
                found = torch.tensor(frame.filter(frame["layer"] == layer)[name].to_list()).double()
                torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5)
    assert {record.way for record in session.records.values()} == {"scaled_dot_product_attention"}


class Calls(nn.Module):
    """A module whose forward is one call, as the test writes it."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def record_of(call: Callable[[Tensor], Tensor], x: Tensor) -> Session:
    model = Calls(call)
    plain = model(x)
    with capture(model) as session:
        assert torch.equal(model(x), plain)
    assert session.heads()["verified"].all()
    return session


X = torch.randn(2, 3, 12, 8, generator=torch.Generator().manual_seed(1))
LOWER = torch.ones(12, 12, dtype=torch.bool).tril()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x), id="bidirectional"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), id="causal"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x, LOWER), id="mask"),
        pytest.param(lambda x: F.scaled_dot_product_attention(query=x, key=x, value=x, attn_mask=LOWER), id="keywords"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x, torch.eye(12)), id="bias"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x, scale=0.2), id="scale"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x, x, x[..., :5]), id="narrow values"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x[:, :, :9], x, x), id="fewer queries"),
        pytest.param(lambda x: F.scaled_dot_product_attention(x[:, :, :9], x, x, is_causal=True), id="from the start"),
        pytest.param(
            lambda x: F.scaled_dot_product_attention(x, x[:, :1], x[:, :1], enable_gqa=True), id="one key head"
        ),
        pytest.param(lambda x: F.scaled_dot_product_attention(x[:, 0], x[:, 0], x[:, 0], LOWER), id="three axes"),
        pytest.param(
            lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True), id="five axes"
        ),
        pytest.param(
            lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], LOWER.expand(1, 2, 3, 12, 12)),
            id="five axes and a mask",
        ),
    ],
)
def test_forms_of_the_call(call: Callable[[Tensor], Tensor]) -> None:
    record_of(call, X)


def test_a_second_call_of_one_forward_has_its_own_record() -> None:
    session = record_of(
        lambda x: F.scaled_dot_product_attention(F.scaled_dot_product_attention(x, x, x), x, x, is_causal=True), X
    )
    assert list(session.records) == ["", "#2"]


def test_calls_outside_the_model_are_not_met() -> None:
    model = nano()
    with capture(model) as session:
        F.scaled_dot_product_attention(X, X, X)
        with torch.no_grad():
            model.blocks[0](torch.randn(1, 20, 32))
    assert list(session.records) == ["blocks.0"]


def test_replaced_output_of_other_ranks() -> None:
    model = Calls(lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True))
    with replace(model, "uniform") as replaced:
        found = model(X)
    expected = X.cumsum(2) / torch.arange(1, 13)[:, None]
    torch.testing.assert_close(found, expected[None])
    assert replaced == {"": 1}


def test_what_is_not_understood_runs_and_is_listed() -> None:
    """Queries on one device only, a value of the wrong length ...: here, no keys at all."""
    model = Calls(lambda x: F.scaled_dot_product_attention(x, x[:, :, :0], x[:, :, :0]))
    plain = model(X)
    with capture(model) as session:
        assert torch.equal(model(X), plain)
    assert session.records == {}
    assert "key: expected at least one of each axis" in session.not_captured[""]
