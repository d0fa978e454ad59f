"""Measure the diversity of beliefs by sums over (query, earlier key) pairs and over tokens of each sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import torch
from torch import Tensor

from heedful.gauge.beliefs import Gaussians, divergences


def at_rows(beliefs: Gaussians, sequences: int, rows: Tensor | None = None) -> Gaussians:
    """Return the beliefs of the first sequences without gradients, at all tokens or at the tokens ``rows``.

    Args:
        beliefs: ``(batch, copy, token, dim)``.
        sequences: How many of the batch.
        rows: Positions, ``(row,)``; None for all.
    """
    found = {field.name: getattr(beliefs, field.name).detach()[:sequences] for field in fields(beliefs)}
    if rows is not None:
        found = {name: tensor[:, :, rows] for name, tensor in found.items()}
    return replace(beliefs, **found)


def diversity_sums(
    queries: Gaussians, keys: Gaussians, rows: Tensor, real: Tensor | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return sums and maxima of KL divergences, mean distances and variances over (query, earlier key) pairs and
    tokens, each ``(sequence, copy)``; a copy of an irrep is a head.

    Args:
        queries: Beliefs of the sampled queries in the common frame, ``(sequence, copy, row, dim)``.
        keys: Those of all keys, ``(sequence, copy, key, dim)``.
        rows: Positions of the queries among the keys, ``(row,)``.
        real: ``(sequence, key)`` True at tokens that are no padding; None where none is.

    Returns:
        What adds up: ``pairs``, ``kl`` and ``kl_square`` (nats), ``distance`` of means, ``variance`` and ``tokens``;
        and what has a maximum: ``kl``, ``near`` (1 / (1 + the least divergence)), ``variance``, ``precision``.
    """
    earlier = torch.arange(keys.mean.shape[2], device=rows.device) < rows[:, None]
    earlier = earlier.expand(len(queries.mean), -1, -1)
    there = keys.mean.new_ones(len(keys.mean), 1, keys.mean.shape[2], dtype=torch.bool)
    if real is not None:
        earlier = earlier & real[:, None] & real[:, rows, None]
        there = real[:, None]
    pairs = earlier[:, None].expand(-1, queries.mean.shape[1], -1, -1)
    apart = torch.where(pairs, divergences(queries, keys).clamp_min(0), 0.0)
    distance = torch.where(pairs, torch.cdist(queries.mean, keys.mean), 0.0)
    variance = keys.log_variance.exp()
    shown = torch.where(there[..., None], variance, 0.0)
    added = {
        "pairs": pairs.sum((2, 3)),
        "kl": apart.sum((2, 3)),
        "kl_square": apart.square().sum((2, 3)),
        "distance": distance.sum((2, 3)),
        "variance": shown.mean(-1).sum(2),
        "tokens": there.sum(2).expand(-1, keys.mean.shape[1]),
    }
    maxima = {
        "kl": apart.amax((2, 3)),
        "near": torch.where(pairs, 1 / (1 + apart), 0.0).amax((2, 3)),  # a least number is a largest one of these
        "variance": shown.amax((2, 3)),
        "precision": torch.where(there[..., None], 1 / variance, 0.0).amax((2, 3)),
    }
    return {name: v.double() for name, v in added.items()}, {name: v.double() for name, v in maxima.items()}


def diversity_columns(added: Mapping[str, Tensor], largest: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the sums and maxima of ``diversity_sums`` to mean, SD and range of KL divergences in nats, mean
    distance, and mean and range of variances.

    Args:
        added: Sums of ``diversity_sums``, over sequences too where that is wanted.
        largest: Its maxima.

    Returns:
        Name to tensor of the sums' own shape; NaN without a pair.
    """
    mean = added["kl"] / added["pairs"]
    return {
        "kl_mean": mean,
        "kl_sd": (added["kl_square"] / added["pairs"] - mean.square()).clamp_min(0).sqrt(),
        "kl_min": 1 / largest["near"] - 1,
        "kl_max": largest["kl"],
        "mean_distance": added["distance"] / added["pairs"],
        "variance_mean": added["variance"] / added["tokens"],
        "variance_min": 1 / largest["precision"],
        "variance_max": largest["variance"],
    }
