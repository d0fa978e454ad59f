"""Root-mean-square norm that keeps the input's dtype, whatever the dtype of its gain."""

from __future__ import annotations

from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    r"""Root-mean-square norm with a learned gain.

    .. math:: g \odot \frac{x}{\sqrt{\operatorname{mean}(x^2) + \epsilon}}

    Under autocast a projection gives bfloat16 and the gain is float32: the norm is then taken in float32 and the result
    is bfloat16 again. Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise vectors ``(..., dim)`` and keep their dtype."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)
