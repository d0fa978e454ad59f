"""Frames: rotation matrices of an irrep, computed from angles, and the transport between two frames.

Rotation matrices of an irrep as polynomials in a unit quaternion, which avoids a matrix exponential.

Every entry of the matrix of order l is a homogeneous polynomial of degree 2 l in the quaternion's four numbers
(Wigner 1959, chapter 15). Its coefficients are found once from matrix exponentials.

Generators of rotations for each irrep, exact in float64.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

from heedful.errors import UsageError
from heedful.gauge.irreps import o3

_TINY = 1e-12
"""Added under the root of a squared length, whose gradient at 0 would be NaN."""


def check_frames(phi: Tensor) -> None:
    r"""Raise an error if rotation vectors have the wrong shape, are not finite or are longer than pi.

    Args:
        phi: ``(..., 3)``.

    Raises:
        UsageError: An angle is not finite or beyond pi, where two coordinates name one rotation.
    """
    largest = float(phi.detach().norm(dim=-1).max()) if phi.numel() else 0.0
    if phi.shape[-1] != 3:
        raise UsageError(f"frames: expected (..., 3) coordinates, got {tuple(phi.shape)}")
    if not largest <= math.pi * (1 + 1e-6):
        raise UsageError(
            f"frames: expected |phi| of at most pi, got {largest:.4g}; wrap the angle, phi - 2 pi phi/|phi|"
        )


def bounded(phi: Tensor) -> Tensor:
    r"""Shrink rotation vectors smoothly to length below pi: :math:`\pi \tanh(|\phi| / \pi) \, \phi / |\phi|`.

    A table that is learned without a bound passes through this; lengths around .3 change by .3 %.

    Args:
        phi: ``(..., 3)``.
    """
    length = (phi.square().sum(-1, keepdim=True) + _TINY).sqrt()
    return phi * (math.pi * torch.tanh(length / math.pi) / length)


def frames(phi: Tensor, order: int) -> Tensor:
    r"""Return the rotation matrices of an irrep for rotation vectors ``phi``, ``(..., 2 order + 1, 2 order + 1)``.

    .. math:: R = \exp\left(\sum_a \phi^a G_a\right)

    Taken in float64 where the device has it: in float32 the exponential leaves the rotations by 1e-5 at l = 6. Up to
    ``HIGHEST`` it is a polynomial of the quaternion, a third of the exponential's cost or less.

    Args:
        phi: ``(..., 3)``, of length up to pi.
        order: The irrep's ``l``.

    Returns:
        ``(..., 2 l + 1, 2 l + 1)``, in the number format of the angles.

    Raises:
        UsageError: e3nn is not installed.
    """
    wide = phi.dtype if phi.device.type == "mps" else torch.float64
    basis = generators(order).to(phi.device, wide)
    if order == 0:
        return torch.ones(*phi.shape[:-1], 1, 1, dtype=phi.dtype, device=phi.device)
    if order <= HIGHEST:
        return by_polynomials(phi.to(wide), order).to(phi.dtype)
    return torch.matrix_exp(torch.einsum("...a,aij->...ij", phi.to(wide), basis)).to(phi.dtype)


def transport(to: Tensor, origin: Tensor) -> Tensor:
    r"""Return the matrix that maps a belief from one frame into another, :math:`\Omega_{ij} = R_i R_j^{-1}`.

    Flat: :math:`\Omega_{ij} \Omega_{jk} = \Omega_{ik}`. Attention never builds it for all pairs (``beliefs``).

    Args:
        to: ``R_i``, ``(..., dim, dim)``.
        origin: ``R_j``, ``(..., dim, dim)``.

    Returns:
        ``(..., dim, dim)``.
    """
    return to @ origin.transpose(-1, -2)


def into_frame(vectors: Tensor, frame: Tensor) -> Tensor:
    """Map vectors from the common frame into a token's frame, ``R v``.

    Args:
        vectors: ``(batch, head, token, dim)``.
        frame: ``(batch, token, dim, dim)``, shared by the heads.
    """
    return torch.einsum("btij,bhtj->bhti", frame, vectors)


def out_of_frame(vectors: Tensor, frame: Tensor) -> Tensor:
    """Map vectors from a token's frame into the common frame, ``R^-1 v``; arguments as for ``into_frame``."""
    return torch.einsum("btji,bhtj->bhti", frame, vectors)


HIGHEST = 4
"""Order up to which the polynomials' terms, 165 of them there, are fewer and exact to float64's rounding."""

_SMALLEST = 1e-24
"""Added under the root of a squared angle, whose gradient at 0 would be NaN; far below rounding of the angle."""


def by_polynomials(phi: Tensor, order: int) -> Tensor:
    r"""Return the rotation matrices ``exp(phi . G)``, ``(..., 2 order + 1, 2 order + 1)``.

    Args:
        phi: ``(..., 3)`` angles.
        order: The irrep's ``l``, from 1 to ``HIGHEST``.

    Returns:
        ``(..., 2 l + 1, 2 l + 1)`` in the number format of the angles.
    """
    exponents, coefficients = _terms(order)
    half = (phi.square().sum(-1, keepdim=True) + _SMALLEST).sqrt() / 2
    quaternion = torch.cat([half.cos(), phi * (half.sin() / (2 * half))], dim=-1)
    powers = [torch.ones_like(quaternion)]
    for _ in range(2 * order):
        powers.append(powers[-1] * quaternion)
    table = torch.stack(powers, dim=-1)  # (..., 4, power)
    places = torch.from_numpy(exponents).to(phi.device)
    parts = [table[..., part, :].index_select(-1, places[:, part]) for part in range(4)]
    terms = parts[0] * parts[1] * parts[2] * parts[3]
    matrix = terms @ torch.from_numpy(coefficients).to(phi)
    return matrix.unflatten(-1, (2 * order + 1, 2 * order + 1))


@lru_cache(maxsize=HIGHEST)
def _terms(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Exponents ``(term, 4)`` and coefficients ``(term, entry)``, by least squares on rotations spread at random."""
    degree = 2 * order
    exponents = np.array([e for e in product(range(degree + 1), repeat=4) if sum(e) == degree])
    random = np.random.default_rng(0)
    quaternion = random.standard_normal((4 * len(exponents), 4))
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    quaternion *= np.where(quaternion[:, :1] < 0, -1.0, 1.0)  # degree 2 l is even: both signs are one rotation
    half = np.arccos(np.clip(quaternion[:, 0], -1.0, 1.0))
    phi = torch.from_numpy(quaternion[:, 1:] * (2 * half / np.sin(half))[:, None])
    rotation = torch.matrix_exp(torch.einsum("na,aij->nij", phi, generators(order).double()))
    terms = np.prod(quaternion[:, None, :] ** exponents[None], axis=-1)
    return exponents, np.linalg.lstsq(terms, rotation.flatten(1).numpy(), rcond=None)[0]


@lru_cache(maxsize=32)
def generators(order: int) -> Tensor:
    r"""Return the three real antisymmetric generators of an irrep, ``(3, 2 order + 1, 2 order + 1)``.

    .. math:: [G_x, G_y] = G_z \text{ and cyclic}, \qquad -\sum_a G_a^2 = l (l + 1) 1

    In the basis of real spherical harmonics, entries are half the roots of whole numbers. e3nn has them in the default
    number format, where commutators are off by 5e-7; here those whole numbers are found and their roots taken anew.

    Args:
        order: The irrep's ``l``.

    Returns:
        ``(3, 2 l + 1, 2 l + 1)`` float64 on the CPU. Source: Geiger and Smidt 2022, arXiv:2207.09453.

    Raises:
        UsageError: e3nn is not installed.
    """
    module = o3()
    with torch.device("cpu"), torch.no_grad():
        near = module.so3_generators(order).double()
    return near.sign() * (4 * near**2).round().sqrt() / 2
