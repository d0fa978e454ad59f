"""A differentiable measure of how far a vector's largest component exceeds the others."""

from __future__ import annotations

import torch
from torch import Tensor

ORDER = 8
"""Order of the norm that stands for the maximum."""

_SMALLEST = 1e-12
"""Added to the mean square: vectors of norm 0 have a crest of 0 and a gradient of 0."""


def smooth_peak_share(vectors: Tensor, order: int = ORDER) -> Tensor:
    r"""Return the ratio of a high-order norm to the root mean square, for each vector.

    .. math:: c_p(x) = \frac{(\operatorname{mean}_c |x_c|^p)^{1/p}}{(\operatorname{mean}_c x_c^2)^{1/2}}

    Reading: 1 where all components are of one size, :math:`d^{1/2 - 1/p}` where one component is all there is; it does
    not change with the vector's length. A direction without structure has about 1.79 (order 8, Gaussian:
    :math:`105^{1/8}`).
    Pitfall: it is no crest factor, which takes the maximum itself and lies between 1 and :math:`\sqrt d`.

    Args:
        vectors: ``(..., dim)``.
        order: An even order above 2.

    Returns:
        ``(...)`` in float32 or better.

    Raises:
        ValueError: The order is odd, or not above 2.
    """
    if order % 2 or order <= 2:
        raise ValueError(f"order: expected an even number above 2, got {order}")
    wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    unit = wide * (wide.square().mean(-1, keepdim=True) + _SMALLEST).rsqrt()
    return (unit**order).mean(-1).add(torch.finfo(unit.dtype).tiny).pow(1 / order)
