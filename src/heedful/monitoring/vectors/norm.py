"""Measure norms of vectors: mean, spread and quantiles."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from heedful.monitoring.vectors.vectors import Vectors

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
