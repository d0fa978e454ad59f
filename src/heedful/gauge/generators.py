"""Generators of rotations for each irrep, exact in float64."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from heedful.gauge.guest import o3


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
