"""Measure how similar the vectors of a sequence are, before and after subtracting their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from heedful.monitoring.vectors.sequence_mean import sequence_mean, sequence_sums
from heedful.monitoring.vectors.vectors import Vectors

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
