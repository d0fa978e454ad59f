"""Heads that a module computes in a loop are one call, in order; values of pairs are captured and replaced."""

from __future__ import annotations

import pytest
import torch
from tests.interception.kl_models import SPEC, KLModel, model_and_ids, own_weights
from torch import Tensor, nn

import heedful
from heedful.errors import UsageError

FORMS = ["einsum", "sum", "matmul", "keys"]
HEADS = sum(copies for _, copies, _ in SPEC)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [2, HEADS])
@pytest.mark.parametrize("named", [None, HEADS])
def test_softmaxes_of_one_module_are_heads_of_one_call(form: str, batch: int, named: int | None) -> None:
    model, ids = model_and_ids(form, batch, named)
    expected = own_weights(model, ids)
    with torch.no_grad(), heedful.capture(model) as session:
        model(ids)
    assert not session.not_captured
    table = session.heads()
    assert table["module"].unique(maintain_order=True).to_list() == ["layers.0", "layers.1"]
    assert table["head"].to_list() == [*range(HEADS), *range(HEADS)] and table["verified"].all()
    assert table["sequences"].to_list() == [batch] * 2 * HEADS
    assert [label.split()[-1] for label in table["label"][:HEADS]] == ["l0", "l0", "l1", "l2"]
    for layer in range(2):
        for head in range(HEADS):
            assert torch.allclose(session.weights(layer, head), expected[layer][0, head], atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_replacement_is_the_modules_own_forward_with_other_weights(form: str) -> None:
    model, ids = model_and_ids(form)
    state, before = {n: p.clone() for n, p in model.state_dict().items()}, torch.get_rng_state()
    plain = model(ids)
    given = torch.rand(2, HEADS, 12, 12).softmax(-1)
    torch.set_rng_state(before)
    with heedful.replace(model, given) as replaced:
        changed = model(ids)
    assert dict(replaced) == {"layers.0": 1, "layers.1": 1}
    assert torch.equal(before, torch.get_rng_state())
    assert torch.allclose(changed, _with_weights(model, ids, given), atol=1e-5)
    assert torch.equal(model(ids), plain)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_some_heads_of_a_loop_are_replaced() -> None:
    model, ids = model_and_ids()
    own = own_weights(model, ids)[0]
    mixed = own.clone()
    mixed[:, 2] = 0
    with heedful.replace(model, "zero", layers=0, heads=2):
        changed = model(ids)
    assert torch.allclose(changed, _with_weights(model, ids, mixed, layers=1), atol=1e-5)


def test_a_replacement_keeps_the_gradient() -> None:
    model, ids = model_and_ids()
    given = torch.rand(1, HEADS, 12, 12).softmax(-1).requires_grad_()
    with heedful.replace(model, given):
        model(ids).square().mean().backward()
    assert given.grad is not None and float(given.grad.abs().sum()) > 0
    assert model.mean.weight.grad is not None


def test_every_module_is_proved() -> None:
    model, ids = model_and_ids()
    proofs = heedful.verify(model, ids)
    assert [(p.path, p.heads, p.recomputed, p.replaced) for p in proofs] == [
        (f"layers.{k}", HEADS, True, True) for k in range(2)
    ]


class Twice(nn.Module):
    """Attends twice; the second time to what the first found, so that these are no heads of one call."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds, self.out = rounds, nn.Linear(6, 6)

    def forward(self, hidden: Tensor) -> Tensor:
        for _ in range(self.rounds):
            hidden = torch.softmax(hidden @ hidden.transpose(1, 2), -1) @ hidden
        return self.out(hidden)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_rounds_are_calls_and_not_heads(rounds: int) -> None:
    torch.manual_seed(0)
    model, hidden = nn.Sequential(nn.Linear(6, 6), Twice(rounds)), torch.randn(3, 10, 6)
    with heedful.capture(model) as session:
        model(hidden)
    assert [(path, record.heads) for path, record in session.records.items()] == [
        ("1" if k == 0 else f"1#{k + 1}", 1) for k in range(rounds)
    ]
    with heedful.replace(model, "zero"):
        assert torch.allclose(model(hidden), model[1].out.bias.expand(3, 10, 6), atol=1e-6)


class Growing(nn.Module):
    """Counts its forwards and attends by as many heads as that: what it does the second time is something else."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, hidden: Tensor) -> Tensor:
        self.runs += 1
        heads = 3 - self.runs
        return sum((torch.softmax(hidden @ hidden.transpose(1, 2), -1) @ hidden for _ in range(heads)), 0 * hidden)


def test_a_module_that_runs_otherwise_the_second_time_is_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 6), Growing())
    with pytest.raises(UsageError, match="when it was run again"), heedful.replace(model, "uniform"):
        model(torch.randn(3, 10, 6))


class Experts(nn.Module):
    """A mixture over experts: of the same form as values of pairs, and no attention over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(6, 10), nn.Linear(6, 60)

    def forward(self, hidden: Tensor) -> Tensor:
        share = torch.softmax(self.gate(hidden), -1)
        return torch.einsum("bte,bted->btd", share, self.experts(hidden).unflatten(-1, (10, 6)))


def test_experts_are_no_attention_though_as_many_as_tokens() -> None:
    model = nn.Sequential(nn.Linear(6, 6), Experts())
    with heedful.capture(model) as session:
        model(torch.randn(3, 10, 6))
    assert not session.records


def _with_weights(model: KLModel, ids: Tensor, given: Tensor, layers: int = 2) -> Tensor:
    """The model's output with given weights in its first layers, by the loops of the module."""
    hidden, variance, angle = model.mean(ids), (0.2 * model.log_variance(ids)).exp(), 0.3 * model.angle(ids)
    for place, layer in enumerate(model.layers):
        if place >= layers:
            hidden = hidden + layer(hidden, variance, angle)[0]
            continue
        parts, begin = [], 0
        for head, (dim, turn) in enumerate(zip(layer.dims, layer.turns, strict=True)):
            own = hidden[..., begin : begin + dim]
            begin += dim
            frame = torch.matrix_exp(torch.einsum("bna,aij->bnij", angle, turn))
            carry = torch.einsum("bikl,bjml->bijkm", frame, frame)
            values = own[:, None].expand(-1, own.shape[1], -1, -1)
            if layer.form != "keys":
                values = torch.einsum("bijkl,bjl->bijk", carry, own)
            parts.append((given[:, head, :, :, None] * values).sum(2))
        hidden = hidden + torch.cat(parts, -1)
    return model.out(hidden)
