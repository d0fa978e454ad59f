"""Rotary positions: pairs of a head's dimensions are rotated by angles that grow with position."""

from __future__ import annotations

import torch
from torch import Tensor

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, ``(batch, token, dim)`` each; dimension ``i`` and ``i + dim / 2`` turn together."""


def rotation(positions: Tensor, dim: int, theta: float, dtype: torch.dtype) -> Rotation:
    r"""Return the cosines and sines of the rotation angles of each position.

    .. math:: \phi_{p,i} = p \, \theta^{-2i/d}, \qquad i < d / 2

    Angles are float32, as in transformers' decoders: in bfloat16 positions beyond 256 would coincide.

    Args:
        positions: ``(batch, token)``.
        dim: Dimensions of a head, even.
        theta: Base of the wavelengths.
        dtype: Number format of the result.

    Returns:
        Cosines and sines, ``(batch, token, dim)``. Source: Su et al. 2021, arXiv:2104.09864.
    """
    steps = torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device)
    angles = positions[..., None].float() * (1.0 / theta ** (steps / dim))
    both = torch.cat((angles, angles), dim=-1)
    return both.cos().to(dtype), both.sin().to(dtype)


def rotated(vectors: Tensor, turn: Rotation) -> Tensor:
    """Rotate the vectors of every head by the angles of their positions.

    Args:
        vectors: Queries or keys, ``(batch, head, token, dim)``.
        turn: What ``rotation`` gave.

    Returns:
        ``(batch, head, token, dim)``, of the same lengths.
    """
    cosine, sine = (part[:, None] for part in turn)
    first, second = vectors.chunk(2, dim=-1)
    return vectors * cosine + torch.cat((-second, first), dim=-1) * sine
