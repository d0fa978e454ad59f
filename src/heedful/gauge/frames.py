"""Frames: rotation matrices of an irrep, computed from angles, and the transport between two frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.errors import UsageError
from heedful.gauge.generators import generators
from heedful.gauge.polynomials import HIGHEST, by_polynomials

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
