"""Measure over how many components a vector's squared norm is spread."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from heedful.monitoring.vectors.vectors import Vectors


def participation_sums(vectors: Vectors) -> dict[str, Tensor]:
    """Return the participation ratio summed over vectors, ``(head,)``.

    Args:
        vectors: Queries or keys; vectors of norm 0 have none.
    """
    square = vectors.values.square()
    fourth = torch.linalg.vecdot(square, square)
    directed = fourth > 0
    ratio = vectors.energy.square() / fourth.masked_fill(~directed, 1.0)
    return {"participation": (ratio * directed).sum((0, 2)), "participating": directed.sum((0, 2))}


def participation_statistics(sums: Mapping[str, Tensor], dim: int) -> dict[str, Tensor]:
    r"""Return the mean participation ratio of single vectors, and the value for random directions.

    .. math:: \operatorname{mean}_i \frac{(\sum_c x_{ic}^2)^2}{\sum_c x_{ic}^4}, \qquad \text{null } \frac{d + 2}{3}

    Reading: the number of components that carry a vector: 1 for one component, dim for equal ones.
    Pitfall: an isotropic direction has (dim + 2) / 3, not dim: its components are not of one size. The null is a ratio
    of means, ``E|x|^4 / E sum x^4`` of a Gaussian; the mean of ratios lies beyond it: 7 % at 16, 2 % at 64.

    Args:
        sums: Those of ``participation_sums``.
        dim: Components of a vector.

    Returns:
        ``participation`` and ``participation_null``, each ``(head,)``; the first is NaN where no vector had a
        direction.
    """
    mean = sums["participation"].double() / sums["participating"].double()
    return {"participation": mean, "participation_null": torch.full_like(mean, (dim + 2) / 3)}
