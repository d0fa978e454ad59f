"""Compute all statistics of queries or keys from one set of sums."""

from __future__ import annotations

import torch
from torch import Tensor

from heedful.monitoring.vectors.cosine import centred, cosine_statistics, cosine_sums
from heedful.monitoring.vectors.effective_rank import effective_rank_statistics, effective_rank_sums
from heedful.monitoring.vectors.largest import largest_statistics, largest_sums
from heedful.monitoring.vectors.norm import norm_statistics, norm_sums
from heedful.monitoring.vectors.participation import participation_statistics, participation_sums
from heedful.monitoring.vectors.sums import Sums
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
