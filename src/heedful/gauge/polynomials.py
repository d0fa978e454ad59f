r"""Rotation matrices of an irrep as polynomials in a unit quaternion, which avoids a matrix exponential.

Every entry of the matrix of order l is a homogeneous polynomial of degree 2 l in the quaternion's four numbers
(Wigner 1959, chapter 15). Its coefficients are found once from matrix exponentials.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

from heedful.gauge.generators import generators

HIGHEST = 4
"""Order up to which the polynomials' terms, 165 of them there, are fewer and exact to float64's rounding."""

_TINY = 1e-24
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
    half = (phi.square().sum(-1, keepdim=True) + _TINY).sqrt() / 2
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
