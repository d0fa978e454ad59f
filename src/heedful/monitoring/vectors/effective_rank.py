"""Measure in how many directions the vectors of a head vary."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def effective_rank_sums(about_mean: Tensor) -> dict[str, Tensor]:
    """Return the summed outer products of vectors, centred by sequence, ``(head, dim, dim)``.

    Args:
        about_mean: ``(batch, head, position, dim)`` vectors less the mean of their sequence.
    """
    stacked = about_mean.transpose(0, 1).flatten(1, 2)
    return {"second_moments": torch.bmm(stacked.transpose(1, 2), stacked)}


def effective_rank_statistics(sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r"""Return the participation ratio of the covariance eigenvalues (Gao et al. 2017, doi:10.1101/214262).

    .. math:: \frac{(\operatorname{tr} C)^2}{\operatorname{tr} C^2}
              = \frac{(\sum_k \lambda_k)^2}{\sum_k \lambda_k^2}

    Reading: dim where all directions vary alike, 1 where the vectors lie on a line. It is the effective rank of order
    2; Roy and Vetterli's (EUSIPCO 2007) is of order 1 and never smaller.
    Pitfall: without centring, the mean counts as a direction and swallows the rest; n vectors of d equal directions
    show about ``n d / (n + d)``.

    Args:
        sums: Those of ``effective_rank_sums``.

    Returns:
        ``effective_rank``, ``(head,)``; NaN where nothing varies.
    """
    moments = sums["second_moments"].double()
    trace = moments.diagonal(dim1=-2, dim2=-1).sum(-1)
    return {"effective_rank": trace.square() / moments.square().sum((-2, -1))}
