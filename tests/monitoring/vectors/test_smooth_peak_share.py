"""Closed forms of the smooth crest, and its gradient."""

from __future__ import annotations

import pytest
import torch

from heedful.monitoring.vectors.smooth_peak_share import smooth_peak_share


@pytest.mark.parametrize("dim", [4, 64])
@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
def test_equal_components_have_one_and_a_single_one_the_most(dim: int, length: float) -> None:
    equal = length * torch.tensor([1.0, -1.0]).repeat(dim // 2)
    alone = length * torch.eye(dim)[2]
    assert torch.isclose(smooth_peak_share(equal), torch.tensor(1.0), rtol=1e-4)
    assert torch.isclose(smooth_peak_share(alone), torch.tensor(dim**0.375), rtol=1e-4)
    assert torch.isclose(smooth_peak_share(alone, order=4), torch.tensor(dim**0.25), rtol=1e-4)


def test_a_gaussian_direction_has_the_eighth_root_of_105() -> None:
    drawn = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert abs(float(smooth_peak_share(drawn).mean()) - 105**0.125) < 0.02


def test_it_is_computed_in_float32_at_least_and_vector_by_vector() -> None:
    vectors = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0))
    assert smooth_peak_share(vectors.bfloat16()).dtype == torch.float32 and smooth_peak_share(vectors).shape == (
        2,
        3,
        5,
    )
    assert torch.allclose(smooth_peak_share(vectors)[1, 2, 4], smooth_peak_share(vectors[1, 2, 4]))


def test_its_gradient_is_right_takes_from_the_largest_and_is_finite_at_zero() -> None:
    values = torch.tensor([3.0, -1.0, 0.5, 0.2], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(smooth_peak_share, values)
    smooth_peak_share(values).backward()
    assert values.grad is not None and values.grad[0] > 0 and (values.grad[1:] * values.detach()[1:] < 0).all()
    nothing = torch.zeros(4, requires_grad=True)
    smooth_peak_share(nothing).backward()
    assert (
        float(smooth_peak_share(nothing.detach())) < 1e-3
        and nothing.grad is not None
        and bool((nothing.grad == 0).all())
    )


@pytest.mark.parametrize("order", [2, 7, 0])
def test_orders_that_are_no_even_number_above_two_are_refused(order: int) -> None:
    with pytest.raises(ValueError, match="even number above 2"):
        smooth_peak_share(torch.ones(4), order)
