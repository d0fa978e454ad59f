"""Weights into a module that stands already."""

from __future__ import annotations

import pytest
import torch
from tests.loading import material
from torch import nn

from heedful.loading.filling import fill


class Tied(nn.Module):
    """Two names of one weight, a mask that is built anew, and a buffer that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.last = self.first
        self.attn = nn.Module()
        self.attn.register_buffer("bias", torch.ones(2))
        self.norm = nn.BatchNorm1d(3)


def given() -> dict[str, torch.Tensor]:
    return {key: tensor.clone() + 1 for key, tensor in Tied().state_dict().items()}


@pytest.mark.parametrize("absent", [("first.weight",), ("last.weight",), ("attn.bias",)])
def test_what_may_be_left_out(absent: tuple[str, ...]) -> None:
    model, tensors = Tied(), given()
    for key in absent:
        tensors.pop(key)
    assert fill(model, dict(tensors), "w") == ()
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in tensors.items())


@pytest.mark.parametrize("absent", [("first.weight", "last.weight"), ("norm.running_mean",), ("norm.weight",)])
def test_what_may_not(absent: tuple[str, ...]) -> None:
    model, tensors = Tied(), given()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for key in absent:
        tensors.pop(key)
    material.refused(lambda: fill(model, tensors, "w"), 3, "1 missing", absent[0])
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_root_and_left_over_buffers_are_noted() -> None:
    tensors = {f"model.{key}": tensor for key, tensor in given().items()}
    notes = fill(Tied(), tensors | {"model.rotary.inv_freq": torch.ones(2)}, "w")
    assert "'model.'" in notes[0] and notes[1] == "1 buffers of the checkpoint are rebuilt"
