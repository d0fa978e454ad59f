"""Generators and frames: laws of rotations for l = 0..6 and angles up to pi."""

from __future__ import annotations

import math

import e3nn.o3
import pytest
import torch
from tests.gauge.drawn import ORDERS, angles

from heedful.errors import UsageError
from heedful.gauge.frames import HIGHEST, bounded, by_polynomials, check_frames, frames, generators, transport


@pytest.mark.parametrize("order", ORDERS)
def test_generators_are_skew_commute_cyclically_and_have_their_casimir(order: int) -> None:
    x, y, z = found = generators(order)
    assert found.dtype == torch.float64
    assert torch.equal(found, -found.mT)
    for one, other, third in ((x, y, z), (y, z, x), (z, x, y)):
        torch.testing.assert_close(one @ other - other @ one, third, rtol=0, atol=1e-13)
    casimir = -(found @ found).sum(0)
    torch.testing.assert_close(casimir, order * (order + 1) * torch.eye(2 * order + 1).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(found, e3nn.o3.so3_generators(order).double(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_frames_are_rotations(order: int, dtype: torch.dtype, error: float) -> None:
    found = frames(angles(9).to(dtype), order)
    assert found.dtype == dtype and found.shape == (9, 2 * order + 1, 2 * order + 1)
    unit = torch.eye(2 * order + 1, dtype=dtype).expand_as(found)
    torch.testing.assert_close(found @ found.mT, unit, rtol=0, atol=error)
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(9, dtype=dtype), rtol=0, atol=10 * error)
    torch.testing.assert_close(found[0], unit[0], rtol=0, atol=error)


@pytest.mark.parametrize("order", ORDERS)
def test_frames_are_those_of_the_axis_and_angle(order: int) -> None:
    phi = angles(9)[1:]
    length = phi.norm(dim=-1)
    known = e3nn.o3.Irrep(order, 1).D_from_axis_angle((phi / length[:, None]).float(), length.float())
    torch.testing.assert_close(frames(phi, order).float(), known, rtol=0, atol=3e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_transport_is_flat(order: int) -> None:
    found = frames(angles(6), order)
    i, j, k = found[1], found[3], found[5]
    torch.testing.assert_close(transport(i, j) @ transport(j, k), transport(i, k), rtol=0, atol=1e-13)
    torch.testing.assert_close(transport(i, i), torch.eye(2 * order + 1).double(), rtol=0, atol=1e-13)
    if order:
        assert (transport(i, j) - transport(i, k)).abs().max() > 0.1


def test_the_gradient_is_finite_at_no_rotation() -> None:
    phi = torch.zeros(1, 3, requires_grad=True)
    frames(bounded(phi), 2)[0, 0, 1].backward()
    assert phi.grad is not None and bool(phi.grad.isfinite().all()) and phi.grad.abs().max() > 0.5


def test_bounded_angles_keep_their_direction_and_stay_below_pi() -> None:
    wild = torch.tensor([[0.3, 0.0, 0.0], [30.0, 40.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    found = bounded(wild)
    assert found[0, 0] == pytest.approx(math.pi * math.tanh(0.3 / math.pi), abs=1e-9)
    torch.testing.assert_close(found[1], math.pi * torch.tensor([0.6, 0.8, 0.0]).double(), rtol=0, atol=1e-6)
    assert torch.equal(found[2], wild[2])
    check_frames(found)


def test_angles_that_name_no_rotation_are_refused() -> None:
    check_frames(angles(5))
    with pytest.raises(UsageError, match=r"frames: expected \|phi\| of at most pi, got 3.2;"):
        check_frames(torch.tensor([[0.0, 3.2, 0.0]]))
    with pytest.raises(UsageError, match="at most pi, got nan"):
        check_frames(torch.tensor([[0.0, math.nan, 0.0]]))
    with pytest.raises(UsageError, match=r"expected \(..., 3\) coordinates, got \(2, 4\)"):
        check_frames(torch.zeros(2, 4))


def drawn_angles() -> torch.Tensor:
    """Any direction, lengths from 0 to pi, both ends among them."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(60, 3, generator=generator, dtype=torch.float64), dim=-1)
    length = torch.cat([torch.tensor([0.0, 1e-9, 1e-3, math.pi]), math.pi * torch.rand(56, generator=generator)])
    return direction * length.double()[:, None]


@pytest.mark.parametrize("order", range(1, HIGHEST + 1))
def test_they_are_the_exponential_and_so_are_their_gradients(order: int) -> None:
    phi = drawn_angles().requires_grad_()
    wanted = torch.matrix_exp(torch.einsum("na,aij->nij", phi, generators(order)))
    found = by_polynomials(phi, order)
    torch.testing.assert_close(found, wanted, atol=1e-11, rtol=0)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [torch.autograd.grad((one * weight).sum(), phi)[0] for one in (found, wanted)]
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)
