"""Root-mean-square norm whose input may have another number format than its gain."""

from __future__ import annotations

from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    r"""Vectors of unit mean square, times a learned gain.

    .. math:: g \odot \frac{x}{\sqrt{\operatorname{mean}(x^2) + \epsilon}}

    Under autocast a projection gives bfloat16 and the gain is float32: the norm is then taken in float32 and the result
    is bfloat16 again. Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise vectors ``(..., dim)``; the number format stays."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)
