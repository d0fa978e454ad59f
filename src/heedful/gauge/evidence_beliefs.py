"""Probes of beliefs: the error of the kernel's KL divergences, and statistics of how far beliefs are apart.

Measure the diversity of beliefs by sums over (query, earlier key) pairs and over tokens of each sequence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from heedful.evaluation.evidence import Array, ProbedCall
from heedful.evaluation.registry import PROBES
from heedful.evaluation.running import device_of
from heedful.gauge.beliefs import Gaussians, divergences

if TYPE_CHECKING:
    from heedful.evaluation.study import Study


ROWS = 32
"""Queries of a sequence whose divergences are taken."""

PROVED_ROWS, PROVED_KEYS, PROVED_SEQUENCES = 4, 128, 2
"""Of a batch, what is worked out pair by pair in float64."""

ROUNDING, LEAST_LIMIT = 4, 1e-5
"""Unit roundoffs of a product's terms that explain an error, and the nats that are never too much."""


def belief_tables(model: nn.Module) -> Any:
    """Return the module that holds a model's belief tables, or None."""
    return next((module for module in model.modules() if hasattr(module, "angle_spread")), None)


def angle_spreads(study: Study) -> Array:
    """Return the standard deviation of frame angles over each sequence's tokens, ``(sequence,)`` in radians; NaN
    without frames.
    """
    tables, sequences = belief_tables(study.model), study.sequences
    found = np.full(len(sequences.input_ids), math.nan)
    if tables is not None:
        device = device_of(study.model)
        for row, (ids, real) in enumerate(zip(sequences.input_ids, sequences.attention_mask, strict=True)):
            found[row] = float(tables.angle_spread(ids[real.bool()][None].to(device)))
    return found


@dataclass(frozen=True)
class _Captured:
    """Beliefs of a call in the common frame, and what reached its kernel."""

    queries: Sequence[Gaussians]
    keys: Sequence[Gaussians]
    kappa: Tensor


def _captured(probed: ProbedCall) -> _Captured | None:
    module: Any = probed.event.module
    asked, log_kappa = getattr(module, "asked", None), getattr(module, "log_kappa", None)
    if asked is None or log_kappa is None:
        return None
    return _Captured(asked[0], asked[1], log_kappa.detach().double().exp())


def belief_diversity(probed: ProbedCall) -> dict[str, Tensor]:
    """Return statistics of KL divergences, distances and variances of beliefs, each ``(sequence, head)``; an empty
    dict if the call has no beliefs.
    """
    captured = _captured(probed)
    if captured is None:
        return {}
    first, last = probed.span()
    device = probed.event.call.query.device
    rows = torch.linspace(min(first + 1, last), last, ROWS, device=device).round().long().unique()
    count, real = probed.event.call.batch, probed.event.call.visibility.keys
    found = []
    for one, other in zip(captured.queries, captured.keys, strict=True):
        sums = diversity_sums(at_rows(one, count, rows), at_rows(other, count), rows, real)
        found.append(diversity_columns(*sums))
    return {name: torch.cat([part[name] for part in found], dim=1) for name in found[0]}


def divergence_proof(probed: ProbedCall) -> dict[str, Tensor]:
    """Compare the kernel's divergences with ``torch.distributions`` in float64; return the largest error of sampled
    pairs.

    What the kernel gets are products; the divergence that they stand for is ``-kappa product - (log|C_i| + d)/2``, and
    is neither clamped nor computed from anything but the call's query and key.

    Returns:
        ``(sequence, head)``: ``divergence_error``, the ``divergence_limit`` that rounding explains,
        ``least_divergence`` and ``self_divergence`` (largest size of a belief's divergence from itself), in nats; NaN
        for sequences that were not looked at, and where a query has moved away from its own key. Nothing where the call
        has no beliefs.
    """
    captured = _captured(probed)
    if captured is None:
        return {}
    call = probed.event.call
    count = min(PROVED_SEQUENCES, call.batch)
    first, last = probed.span()
    rows = torch.linspace(first, last, PROVED_ROWS, device=call.query.device).round().long().unique()
    keys = torch.linspace(first, last, PROVED_KEYS, device=call.query.device).round().long()
    keys = torch.cat([keys, rows]).unique()
    query, key = call.query[:count][:, :, rows], call.key[:count][:, :, keys]
    products = (query @ key.mT).double() * call.scale
    terms = (query.abs() @ key.abs().mT).double() * abs(call.scale)
    limit = ROUNDING * torch.finfo(query.dtype).eps * terms
    own, expected = [], []
    for one, other in zip(captured.queries, captured.keys, strict=True):
        asked, seen = at_rows(one, count, rows), at_rows(other, count, keys)
        own.append(((asked.log_volume + asked.mean.shape[-1]) / 2).double())
        expected.append(_pairwise(asked, seen))
    kappa = captured.kappa.to(products.device)[:, None, None]
    divergence, true = -products * kappa - torch.cat(own, dim=1)[..., None], torch.cat(expected, dim=1)
    allowed = (limit * kappa).clamp_min(LEAST_LIMIT)
    itself = divergence.abs()[:, :, torch.arange(len(rows)), torch.searchsorted(keys, rows)]
    if not getattr(probed.event.module, "meets_itself", True):
        itself = torch.full_like(itself, math.nan)
    found = {
        "divergence_error": (divergence - true).abs().amax((2, 3)),
        "divergence_limit": allowed.amax((2, 3)),
        "least_divergence": divergence.amin((2, 3)),
        "self_divergence": itself.amax(2),
    }
    missing = divergence.new_full((call.batch - count, call.heads), math.nan)
    return {name: torch.cat([value, missing]) for name, value in found.items()}


def _pairwise(queries: Gaussians, keys: Gaussians) -> Tensor:
    """``KL(q_i || q_j)`` by the definition for two normals, ``(sequence, copy, query, key)`` in float64."""
    return kl_divergence(_normal(queries, beside=3), _normal(keys, beside=2))


def _normal(beliefs: Gaussians, beside: int) -> MultivariateNormal:
    """Normals with an axis of length one at a place, where the other side of the pair goes."""
    root, _ = torch.linalg.cholesky_ex(beliefs.covariance().double())
    mean = beliefs.mean.double().unsqueeze(beside)
    return MultivariateNormal(mean, scale_tril=root.unsqueeze(beside), validate_args=False)


PROBES.add("divergence_proof", divergence_proof)
PROBES.add("belief_diversity", belief_diversity)


def at_rows(beliefs: Gaussians, sequences: int, rows: Tensor | None = None) -> Gaussians:
    """Return beliefs without gradients: those of the first sequences, at all tokens or at the tokens ``rows``.

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
    """Return sums and maxima of how far beliefs differ, over pairs of a query and an earlier key, ``(sequence, copy)``
    each; a copy is a head.

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
    """Convert the sums of ``diversity_sums`` to means, SDs and ranges of divergences, distances and variances.

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
