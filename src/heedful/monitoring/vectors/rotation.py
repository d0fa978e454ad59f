"""Estimate the rotary-position rotation from keys before and after it was applied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SHARES = (1.0, 0.75, 0.5, 0.4, 0.25)
"""Shares of the components that models rotate."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Relative difference that rounding of a rotation in each number format explains."""


@dataclass(frozen=True)
class Rotation:
    """Pairs of components that rotate together, and their angle at each position.

    Attributes:
        first: ``(pair,)`` int64, components that are the real parts.
        second: ``(pair,)`` int64, components that are the imaginary parts.
        angle: ``(batch, position, pair)`` complex numbers of modulus 1.
    """

    first: Tensor
    second: Tensor
    angle: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Rotate values ``(batch, head, position, dim)``; components without a pair stay unchanged."""
        turned = values.clone()
        pairs = torch.complex(values[..., self.first].float(), values[..., self.second].float())
        pairs = pairs * self.angle[:, None]
        turned[..., self.first], turned[..., self.second] = pairs.real.to(values.dtype), pairs.imag.to(values.dtype)
        return turned


def rotation_between(before: Tensor, after: Tensor) -> Rotation | None:
    """Estimate the rotation from keys ``before`` to keys ``after``, common to all heads; None if there is none.

    Components turn in pairs: ``c`` with ``c + d/2`` or ``2c`` with ``2c + 1``, of all ``d`` components or of the first
    or last part of them. The angle of a pair is that of the sum over heads of after times conjugate before; a pairing
    is believed only where turning by it gives the keys again, to the rounding of their number format.

    Args:
        before: ``(batch, kv_head, position, dim)``.
        after: The same keys, rotated.

    Returns:
        The rotation, or None where none of the pairings explains the difference.
    """
    tolerance = max(TOLERANCE[before.dtype], TOLERANCE[after.dtype])
    scale = after.float().norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    for first, second in _pairings(before.shape[-1], before.device):
        one, other = (torch.complex(v[..., first].float(), v[..., second].float()) for v in (before, after))
        product = (other * one.conj()).sum(1)
        size = product.abs()
        turn = Rotation(first, second, torch.where(size > 0, product / size.clamp_min(1e-30), 1.0 + 0.0j))
        if bool(((turn.of(before.float()) - after.float()).abs() <= tolerance * scale).all()):
            return turn
    return None


def _pairings(dim: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for share in SHARES:
        part = int(dim * share) // 2 * 2
        if not part:
            continue
        for start in dict.fromkeys((0, dim - part)):
            place = torch.arange(start, start + part, device=device)
            yield place[: part // 2], place[part // 2 :]
            yield place[0::2], place[1::2]
