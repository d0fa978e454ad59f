"""Queries or keys of one layer, before or after positions are applied, in the layout for statistics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Vectors:
    """Queries or keys, with a mask of the vectors included in the statistics.

    Attributes:
        values: ``(batch, head, position, dim)`` in float32 or better; 0 where not counted.
        energy: ``(batch, head, position)`` squared norms; 0 where not counted.
        counted: ``(batch, head, position)``, 1 where a vector is counted, else 0: padding and vectors that are not
            finite are left out.
        broken: ``(head,)`` number of vectors that stand at real positions and are not finite.
        largest: ``(head,)`` largest absolute component, of all vectors met and not of a sample alone.
    """

    values: Tensor
    energy: Tensor
    counted: Tensor
    broken: Tensor
    largest: Tensor

    @classmethod
    def of(cls, values: Tensor, real: Tensor | None = None, largest: Tensor | None = None) -> Vectors:
        """Create ``Vectors`` from queries or keys in a model's own layout.

        Args:
            values: ``(batch, head, position, dim)``.
            real: ``(batch, position)`` bool, False at padding; None where all are real.
            largest: ``(head,)`` largest absolute component of a larger set that these were sampled from.
        """
        values = values.detach()
        values = values if values.dtype == torch.float64 else values.float()
        energy = torch.linalg.vecdot(values, values)
        finite = energy.isfinite()
        if real is None:
            real = torch.ones_like(finite[:, 0])
        counted = finite & real[:, None]
        broken = (real[:, None] & ~finite).sum((0, 2))
        if bool(counted.all()):
            held, weight = values, counted.to(values.dtype)
        else:
            held = values.masked_fill(~counted[..., None], 0.0)
            energy, weight = energy.masked_fill(~counted, 0.0), counted.to(values.dtype)
        if largest is None:
            largest = held.abs().amax((0, 2, 3))
        return cls(held, energy, weight, broken, largest)

    @property
    def dim(self) -> int:
        """Number of components of a vector."""
        return int(self.values.shape[-1])
