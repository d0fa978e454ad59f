"""The kernel of CUDA devices, as far as a machine without one can tell: torch's own shape rules accept its calls."""

from __future__ import annotations

import pytest
import torch

from heedful.attention.engines.spans import ALIGNMENT, CudaEfficient, KernelCall


@pytest.mark.parametrize(("queries", "keys"), [(37, 50), (1, 33), (64, 64)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_efficient_kernel_takes_what_it_is_given(queries: int, keys: int, masked: bool) -> None:
    query, key = torch.empty(2, 4, queries, 64, device="meta"), torch.empty(2, 4, keys, 64, device="meta")
    mask = torch.empty(1, 1, queries, keys, device="meta") if masked else None
    asked = KernelCall(query, key, not masked and queries == keys, mask)
    answer = CudaEfficient().forward(asked, key, 1.0)
    assert answer.output.shape == query.shape
    assert answer.logsumexp.shape == (2, 4, queries)
    assert CudaEfficient().value_gradient(asked, answer, torch.empty_like(query)).shape == key.shape


def test_rows_of_its_mask_are_aligned() -> None:
    query, key, mask = torch.zeros(1, 1, 3, 8), torch.zeros(1, 1, 21, 8), torch.randn(1, 1, 3, 21)
    bias = CudaEfficient._bias(KernelCall(query, key, False, mask))
    assert bias is not None and bias.equal(mask)
    assert bias.stride(-2) % ALIGNMENT == 0
