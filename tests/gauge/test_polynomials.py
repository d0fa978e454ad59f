"""Rotations by polynomials against matrix exponentials, with their gradients."""

from __future__ import annotations

import math

import pytest
import torch

from heedful.gauge.generators import generators
from heedful.gauge.polynomials import HIGHEST, by_polynomials


def angles() -> torch.Tensor:
    """Any direction, lengths from 0 to pi, both ends among them."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(60, 3, generator=generator, dtype=torch.float64), dim=-1)
    length = torch.cat([torch.tensor([0.0, 1e-9, 1e-3, math.pi]), math.pi * torch.rand(56, generator=generator)])
    return direction * length.double()[:, None]


@pytest.mark.parametrize("order", range(1, HIGHEST + 1))
def test_they_are_the_exponential_and_so_are_their_gradients(order: int) -> None:
    phi = angles().requires_grad_()
    wanted = torch.matrix_exp(torch.einsum("na,aij->nij", phi, generators(order)))
    found = by_polynomials(phi, order)
    torch.testing.assert_close(found, wanted, atol=1e-11, rtol=0)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [torch.autograd.grad((one * weight).sum(), phi)[0] for one in (found, wanted)]
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)
