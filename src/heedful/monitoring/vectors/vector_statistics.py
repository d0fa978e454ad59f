"""Compute all statistics of queries or keys from one set of sums.

Measure in how many directions the vectors of a head vary.

Measure the largest component of each vector, and its share of the squared norm.

Measure norms of vectors: mean, spread and quantiles.

Measure over how many components a vector's squared norm is spread.

Measure how similar the vectors of a sequence are, before and after subtracting their mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from heedful.monitoring.vectors.sums import Sums, sequence_mean, sequence_sums
from heedful.monitoring.vectors.vectors import Vectors


def vector_sums(vectors: Vectors) -> Sums:
    """Return all sums that the statistics of these vectors need.

    Args:
        vectors: Queries or keys of one layer at one stage.

    Returns:
        Sums whose first axis is the head; those of two shards of sequences merge to those of both.
    """
    with torch.no_grad(), torch.autocast(vectors.values.device.type, enabled=False):
        about_mean = centred(vectors)
        added = {
            "broken": vectors.broken,
            **norm_sums(vectors),
            **largest_sums(vectors),
            **participation_sums(vectors),
            **cosine_sums(vectors, about_mean),
            **effective_rank_sums(about_mean),
        }
        return Sums({name: value.double() for name, value in added.items()}, {"largest": vectors.largest.double()})


def vector_statistics(sums: Sums) -> dict[str, Tensor]:
    """Return every statistic of queries or keys, by name.

    Args:
        sums: Those of ``vector_sums``, merged or not.

    Returns:
        Column name to ``(head,)`` numbers; NaN where undefined.
    """
    added = sums.added
    return {
        "vectors": added["count"],
        "broken": added["broken"],
        **norm_statistics(added),
        **largest_statistics(added, sums.maxima["largest"]),
        **participation_statistics(added, added["second_moments"].shape[-1]),
        **cosine_statistics(added),
        **effective_rank_statistics(added),
    }


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


def largest_sums(vectors: Vectors) -> dict[str, Tensor]:
    """Return sums over vectors of the largest absolute component and its share of the squared norm, ``(head,)`` each.

    Args:
        vectors: Queries or keys; vectors of norm 0 have no share and are not in ``directed``.
    """
    largest = vectors.values.abs().amax(-1)
    directed = vectors.energy > 0
    share = largest.square() / vectors.energy.masked_fill(~directed, 1.0)
    return {
        "directed": directed.sum((0, 2)),
        "largest": largest.sum((0, 2)),
        "largest_share": share.sum((0, 2)),
    }


def largest_statistics(sums: Mapping[str, Tensor], largest: Tensor) -> dict[str, Tensor]:
    r"""Return the mean largest component, its share of the squared norm, and the overall maximum, ``(head,)`` each.

    .. math:: \operatorname{mean}_i \max_c |x_{ic}|, \qquad \operatorname{mean}_i \max_c x_{ic}^2 / \lVert x_i\rVert^2

    Reading: a share of .9 would be "one dimension holds the vector"; components of the same size give 1 / dim.
    Pitfall: ``global_max`` is one number out of all vectors and components, and grows with how many there are. Do
    not compare it with the mean norm, which covers different vectors.

    Args:
        sums: Those of ``largest_sums`` and ``norm_sums``.
        largest: ``(head,)`` largest absolute component of all.

    Returns:
        ``largest_mean``, ``largest_share`` and ``global_max``, each ``(head,)``; NaN where there was no vector.
    """
    return {
        "largest_mean": sums["largest"].double() / sums["count"].double(),
        "largest_share": sums["largest_share"].double() / sums["directed"].double(),
        "global_max": largest.double(),
    }


LOWEST, PER_OCTAVE, BINS = -10, 32, 32 * 26
"""Bins of the histogram: 32 to a doubling, from 2^-10 to 2^16. A quantile is off by at most 1.1 %."""

QUANTILES = {"norm_q05": 0.05, "norm_q50": 0.5, "norm_q95": 0.95}


def norm_sums(vectors: Vectors) -> dict[str, Tensor]:
    """Return count, sums and a histogram of the norms, ``(head,)`` and ``(head, bin)``.

    A histogram with fixed edges merges by addition, which a sketch of quantiles does not.

    Args:
        vectors: Queries or keys.
    """
    norm = vectors.energy.sqrt()
    heads = norm.shape[1]
    place = ((norm.log2() - LOWEST) * PER_OCTAVE).floor().clamp(0, BINS - 1).long()
    place = place + torch.arange(heads, device=norm.device)[None, :, None] * BINS
    # What is not counted has a bin of its own: with weights, counting has no deterministic form on every device.
    place = place.masked_fill(vectors.counted == 0, heads * BINS)
    histogram = torch.bincount(place.flatten(), minlength=heads * BINS + 1)[:-1]
    return {
        "count": vectors.counted.sum((0, 2)),
        "norm": norm.sum((0, 2), dtype=torch.float64),
        "norm_square": vectors.energy.sum((0, 2), dtype=torch.float64),
        "norm_histogram": histogram.view(heads, BINS),
    }


def norm_statistics(sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return mean, standard deviation (n - 1) and quantiles of the norm, ``(head,)`` each.

    Args:
        sums: Those of ``norm_sums``.

    Returns:
        ``norm_mean``, ``norm_sd`` and ``norm_q..``, each ``(head,)`` float64; NaN where no vector was counted.
    """
    count = sums["count"].double()
    mean = sums["norm"] / count
    spread = (sums["norm_square"] - count * mean * mean).clamp_min(0) / (count - 1)
    found = {"norm_mean": mean, "norm_sd": torch.where(count > 1, spread, math.nan).sqrt()}
    below = sums["norm_histogram"].double().cumsum(-1)
    for name, share in QUANTILES.items():
        place = torch.searchsorted(below, (share * count)[:, None]).clamp_max(BINS - 1)[:, 0]
        middle = torch.exp2((place + 0.5) / PER_OCTAVE + LOWEST).double()
        found[name] = torch.where(count > 0, middle, math.nan)
    return found


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


FEWEST_PAIRS = 1000


def centred(vectors: Vectors) -> Tensor:
    """Subtract the mean of each sequence and head from its vectors, ``(batch, head, position, dim)``; 0 where not
    counted.
    """
    number = vectors.counted.sum(-1).clamp_min(1)
    mean = vectors.values.sum(2) / number[..., None]
    return (vectors.values - mean[:, :, None]) * vectors.counted[..., None]


def cosine_sums(vectors: Vectors, about_mean: Tensor) -> dict[str, Tensor]:
    r"""Return sums over sequences of the mean pairwise cosine, raw and centred.

    All :math:`n (n - 1) / 2` pairs at once, since unit vectors add up:
    :math:`\lVert\sum_i u_i\rVert^2 = n + \sum_{i \ne j} u_i \cdot u_j`.

    Args:
        vectors: Queries or keys.
        about_mean: Those of ``centred``.
    """
    found: dict[str, Tensor] = {}
    for name, values, energy in (
        ("cosine", vectors.values, vectors.energy),
        ("centred_cosine", about_mean, torch.linalg.vecdot(about_mean, about_mean)),
    ):
        directed = energy > 0
        inverse = torch.where(directed, energy, 1.0).rsqrt() * directed
        total = torch.einsum("bhnd,bhn->bhd", values, inverse).double()
        number = directed.sum(-1).double()
        pairs = number * (number - 1)
        mean = torch.where(pairs > 0, (total.square().sum(-1) - number) / pairs, math.nan)
        found |= sequence_sums(name, mean)
        found[f"{name}_pairs"] = pairs.sum(0) / 2
    return found


def cosine_statistics(sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean cosine of two vectors in a sequence, with its 95 % interval over sequences.

    Reading: raw cosines hold the shared mean vector: with mean m of unit vectors they are at least ``|m|^2``. About the
    mean, vectors without further structure have ``-1 / (n - 1)``. A vector added to all keys of a sequence changes no
    weight of attention (before rotation: no weight at its own distance), so the centred cosine is the one that says
    whether keys are redundant.
    Pitfall: with one sequence there is no interval. Vectors on a line through their mean have a centred cosine of about
    0 as well: how many directions they vary in is ``effective_rank``.

    Args:
        sums: Those of ``cosine_sums``.

    Returns:
        ``cosine``, ``centred_cosine``, each with ``_low`` and ``_high``, and ``pairs``, ``(head,)``; NaN below 1000
        pairs.
    """
    found: dict[str, Tensor] = {}
    for name in ("cosine", "centred_cosine"):
        enough = sums[f"{name}_pairs"] >= FEWEST_PAIRS
        for ending, value in sequence_mean(sums, name).named(name).items():
            found[ending] = torch.where(enough, value, math.nan)
    found["pairs"] = sums["cosine_pairs"].double()
    return found
