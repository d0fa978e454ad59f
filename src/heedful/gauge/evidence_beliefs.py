"""Probes of beliefs: the error of the kernel's KL divergences, and statistics of how far beliefs are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from heedful.evaluation.evidence import Array, ProbedCall
from heedful.evaluation.probe_registry import PROBES
from heedful.evaluation.running import device_of
from heedful.gauge.beliefs import Gaussians
from heedful.gauge.diversity import at_rows, diversity_columns, diversity_sums

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
