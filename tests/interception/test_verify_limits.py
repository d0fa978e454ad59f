"""How large a change of the model's output counts as one, and which of its tensors are looked at."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import heedful

X = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(0))


class Beside(nn.Module):
    """Self-attention whose output, at most about 1, is handed on in whatever way a subclass says."""

    num_heads = 2

    def __init__(self, share: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.attention, self.share = nn.MultiheadAttention(8, 2, batch_first=True), share

    def attended(self, x: Tensor) -> Tensor:
        found: Tensor = self.attention(x, x, x)[0]
        return found / found.abs().max().clamp_min(1e-3)

    def forward(self, x: Tensor) -> Any:
        return x.sign() + self.share * self.attended(x)


@pytest.mark.parametrize(
    ("share", "replaced"), [(1e-9, False), (2e-7, False), (1e-6, False), (3e-5, True), (1e-3, True), (1.0, True)]
)
def test_what_rounding_can_make_is_no_consequence(share: float, replaced: bool) -> None:
    """Rounding of float32 is 1.2e-7 of an output; a hundred times as much is none."""
    (proof,) = heedful.verify(Beside(share), X)
    assert proof.recomputed and proof.replaced == replaced
    assert (proof.moved > 0) == (share > 1e-8)
    assert proof.reason == ("" if replaced else "the model's output does not change without it")


class Listed(Beside):
    def forward(self, x: Tensor) -> Any:
        found = self.attended(x)
        return {"last_hidden_state": [x + found, x], "past_key_values": (x,), "other": x}


class Hidden(Beside):
    def forward(self, x: Tensor) -> Any:
        found = self.attended(x)
        return {"logits": x + 0 * found, "past_key_values": (x + found,)}


def test_every_tensor_of_an_output_is_looked_at() -> None:
    (proof,) = heedful.verify(Listed(), X)
    assert proof.replaced and proof.moved > 0.01


def test_a_cache_is_no_result() -> None:
    (proof,) = heedful.verify(Hidden(), X)
    assert proof.recomputed and not proof.replaced and proof.moved == 0
