r"""Find the change of coordinates between two bases of the same irrep from their generators.

A checkpoint stores generators :math:`G_a` of its own. Axes may be named otherwise (polar axis z there, y here). With a
rotation of the axes, :math:`G_a B = B \, s_a g_{\pi(a)}` for an orthogonal B that is unique but for its sign. Then
:math:`\mu' = B^T \mu` and :math:`\phi'_{\pi(a)} = s_a \phi_a` describe the same belief in the same frame. Where B only
permutes coordinates and changes signs, a diagonal covariance stays diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from heedful.errors import UsageError
from heedful.gauge.frames import generators

CLOSE = 1e-4
"""Generators are stored in float32, with entries up to l."""


@dataclass(frozen=True)
class Basis:
    """Change of coordinates from a checkpoint's basis to heedful's: an orthogonal matrix for each head, and the
    mapping of rotation axes.

    Attributes:
        axes: Which of heedful's axes each of theirs is.
        signs: 1 or -1 of each.
        blocks: ``B`` of each head, ``(dim, dim)`` float64.
    """

    axes: tuple[int, int, int]
    signs: tuple[float, float, float]
    blocks: tuple[Tensor, ...]

    @property
    def permutes(self) -> bool:
        """Whether the change of coordinates only permutes coordinates and changes their signs."""
        return all(bool(((block.abs() - 1).abs() < CLOSE).sum() == len(block)) for block in self.blocks)

    @property
    def flips(self) -> bool:
        """Whether the change of coordinates changes the sign of any coordinate."""
        return any(bool((block < -0.5).any()) for block in self.blocks)

    def vectors(self, columns: Tensor) -> Tensor:
        """Convert mean vectors ``v`` to heedful's coordinates, ``B^T v``; input and output are ``(..., width)``."""
        return columns @ torch.block_diag(*self.blocks).to(columns)

    def variances(self, columns: Tensor) -> Tensor:
        """Convert variances ``c`` to heedful's coordinates, the diagonals of ``B^T diag(c) B``; input and output are
        ``(..., width)``.
        """
        return columns @ torch.block_diag(*self.blocks).square().to(columns)

    def angles(self, phi: Tensor) -> Tensor:
        """Convert rotation vectors, ``(..., 3)``, from the checkpoint's axes to heedful's axes."""
        found = torch.zeros_like(phi)
        found[..., list(self.axes)] = phi * phi.new_tensor(self.signs)
        return found


def basis_of(given: Tensor, orders: tuple[int, ...]) -> Basis:
    """Find the change of coordinates from the basis of the given generators to heedful's basis.

    Args:
        given: ``(3, width, width)``, one block a head along the diagonal.
        orders: ``l`` of each head.

    Returns:
        A basis that permutes coordinates, if the axes can be named so that there is one; else any.

    Raises:
        UsageError: A block is no irrep of its order, or what lies beside the blocks is not 0.
    """
    dims = [2 * order + 1 for order in orders]
    given = given.double()
    if given.shape != (3, sum(dims), sum(dims)):
        raise UsageError(f"generators: expected (3, {sum(dims)}, {sum(dims)}), got {tuple(given.shape)}")
    own = [given[:, end - dim : end, end - dim : end] for dim, end in zip(dims, _ends(dims), strict=True)]
    blocks = torch.stack([torch.block_diag(*[block[axis] for block in own]) for axis in range(3)])
    if float((given - blocks).abs().max()) > CLOSE:
        raise UsageError("generators: heads mix with one another (their blocks are not those of the irreps)")
    first: Basis | None = None
    for axes, signs in _rotations():
        found = [_intertwiner(block, order, axes, signs) for block, order in zip(own, orders, strict=True)]
        if any(block is None for block in found):
            continue
        basis = Basis(axes, signs, tuple(block for block in found if block is not None))
        if basis.permutes:
            return basis
        first = first or basis
    if first is None:
        raise UsageError(f"generators: expected irreps of SO(3) of orders {orders}; theirs are not (skew, [x, y] = z)")
    return first


def _ends(dims: list[int]) -> list[int]:
    return [sum(dims[: place + 1]) for place in range(len(dims))]


def _rotations() -> list[tuple[tuple[int, int, int], tuple[float, float, float]]]:
    """The 24 rotations that carry axes to axes; the plain one first."""
    found = []
    for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2)):
        for signs in ((a, b, c) for a, b, c in product((1.0, -1.0), repeat=3)):
            turn = torch.zeros(3, 3)
            turn[list(axes), [0, 1, 2]] = torch.tensor(signs)
            if float(torch.linalg.det(turn)) > 0:
                found.append((axes, signs))
    return found


def _intertwiner(block: Tensor, order: int, axes: tuple[int, int, int], signs: tuple[float, ...]) -> Tensor | None:
    if order == 0:
        return torch.ones(1, 1, dtype=torch.float64) if float(block.abs().max()) < CLOSE else None
    dim = 2 * order + 1
    unit = torch.eye(dim, dtype=torch.float64)
    ours = generators(order)
    rows = [
        torch.kron(block[a].contiguous(), unit) - torch.kron(unit, (sign * ours[axis]).T.contiguous())
        for a, (axis, sign) in enumerate(zip(axes, signs, strict=True))
    ]
    _, sizes, right = torch.linalg.svd(torch.cat(rows))
    if float(sizes[-1]) > CLOSE:
        return None
    found = right[-1].reshape(dim, dim) * dim**0.5
    orthogonal = float((found @ found.T - unit).abs().max()) < 10 * CLOSE
    return found * found.flatten()[found.abs().argmax()].sign() if orthogonal else None


def usual_generators(order: int) -> Tensor:
    r"""Return an irrep's rotation generators, ``(3, dim, dim)``, in the basis of real spherical harmonics with polar
    axis z and m from -l to l.

    From the ladder of :math:`J_z`: :math:`\langle m \pm 1 | J_\pm | m \rangle = \sqrt{l (l + 1) - m (m \pm 1)}`, as
    :math:`-i J_a` in the real basis.

    Args:
        order: The irrep's ``l``.
    """
    dim = 2 * order + 1
    m = torch.arange(-order, order + 1, dtype=torch.float64)
    up = torch.zeros(dim, dim, dtype=torch.complex128)
    for place in range(dim - 1):
        up[place + 1, place] = (order * (order + 1) - m[place] * (m[place] + 1)).sqrt()
    down = up.mH
    ladder = ((up + down) / 2, (up - down) / 2j, torch.diag(m).to(up))
    real: Any = torch.zeros(dim, dim, dtype=torch.complex128)
    real[order, order] = 1
    for one in range(1, order + 1):
        sign = (-1) ** one
        real[order + one, order - one], real[order + one, order + one] = 2**-0.5, sign * 2**-0.5
        real[order - one, order - one], real[order - one, order + one] = -1j * 2**-0.5, 1j * sign * 2**-0.5
    return torch.stack([(real @ (-1j * part) @ real.mH).real for part in ladder])
