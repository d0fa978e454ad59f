"""What is met before a rotation is believed only where a rotation is all that lies between."""

import pytest
import torch
from torch import Tensor, nn

from heedful.interception.unrotated import Unrotated


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj = nn.Identity(), nn.Identity()


def rotated(values: Tensor) -> Tensor:
    """Each half of the components turned against the other, by an angle that grows with the position."""
    angle = torch.arange(values.shape[2])[:, None] * torch.tensor([1.0, 0.1])
    first, second = values.chunk(2, dim=-1)
    return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], dim=-1)


@pytest.fixture
def vectors() -> tuple[Tensor, Tensor]:
    query, key = torch.randn(2, 4, 12, 4), torch.randn(2, 2, 12, 4)
    return nn.functional.normalize(query, dim=-1), nn.functional.normalize(key, dim=-1)


def met(query: Tensor, key: Tensor, called: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor] | None, str]:
    module, unrotated = Attention(), Unrotated()
    for child, values in ((module.q_proj, query), (module.k_proj, key)):
        unrotated.outputs[id(child)] = values.transpose(1, 2).flatten(2)
    return unrotated.of(module, *called)


def test_a_rotation_is_believed(vectors: tuple[Tensor, Tensor]) -> None:
    query, key = vectors
    before, reason = met(query, key, (rotated(query), rotated(key)))
    assert before is not None and reason == ""
    assert torch.equal(before[0], query) and torch.equal(before[1], key)


def test_heads_in_another_order_are_not_though_all_norms_are_one(vectors: tuple[Tensor, Tensor]) -> None:
    query, key = vectors
    before, reason = met(query, key.flip(1), (rotated(query), rotated(key)))
    assert before is None and "more than a rotation" in reason


def test_another_size_is_not_believed(vectors: tuple[Tensor, Tensor]) -> None:
    query, key = vectors
    before, reason = met(query * 2, key, (rotated(query), rotated(key)))
    assert before is None and "more than a rotation" in reason


def test_without_rotation_there_is_no_stage_before(vectors: tuple[Tensor, Tensor]) -> None:
    before, reason = met(*vectors, vectors)
    assert before is None and "not rotated" in reason


def test_unknown_names_are_said(vectors: tuple[Tensor, Tensor]) -> None:
    before, reason = Unrotated().of(nn.Linear(2, 2), *vectors)
    assert before is None and "q_proj" in reason
