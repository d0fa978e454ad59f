"""A rotation is found from keys before and after it, whichever components form pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from heedful.compression.redundancy import rotation_between


def rotated(values: Tensor, first: list[int], second: list[int]) -> Tensor:
    speed = 0.5 ** torch.arange(len(first), dtype=torch.float64)
    angle = torch.arange(values.shape[2], dtype=torch.float64)[:, None] * speed
    one, other = values[..., first].double(), values[..., second].double()
    turned = values.clone()
    turned[..., first] = (one * angle.cos() - other * angle.sin()).to(values.dtype)
    turned[..., second] = (other * angle.cos() + one * angle.sin()).to(values.dtype)
    return turned


PAIRS = {
    "halves": ([0, 1, 2, 3], [4, 5, 6, 7]),
    "neighbours": ([0, 2, 4, 6], [1, 3, 5, 7]),
    "halves of the first half": ([0, 1], [2, 3]),
    "neighbours of the last half": ([4, 6], [5, 7]),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pairs_are_found_and_other_keys_turn_alike(name: str, heads: int, dtype: torch.dtype) -> None:
    first, second = PAIRS[name]
    before, other = torch.randn(2, 2, heads, 12, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = rotation_between(before, rotated(before, first, second))
    assert found is not None
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    assert torch.allclose(found.of(other).float(), rotated(other, first, second).float(), atol=tolerance)
    if dtype == torch.float32:
        pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
        assert pairs >= set(zip(first, second, strict=True))  # components that stay may turn by nothing


def test_what_is_no_rotation_is_not_taken_for_one() -> None:
    before = torch.randn(1, 2, 12, 8, generator=torch.Generator().manual_seed(1))
    assert rotation_between(before, before * 1.1) is None
    assert rotation_between(before, before.flip(1)) is None  # heads in another order: all norms are there
    assert rotation_between(before, rotated(before, [0, 1], [3, 2])) is None


def test_keys_of_zero_turn_into_zero() -> None:
    nothing = torch.zeros(1, 2, 3, 4)
    found = rotation_between(nothing, nothing)
    assert found is not None and torch.equal(found.of(nothing), nothing)
