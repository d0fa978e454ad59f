"""Reference engine: all weights in float64, every moment by its definition; for tests and small pictures."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from heedful.attention.axes import DISTANCE_EDGES, LAGS, LOCAL_DISTANCE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.groups import GroupLabels, Groups
from heedful.attention.engines.moments import Extras, KeyMoments, Moments, RowMoments

LOG_FLOOR = -30.0
"""Log weights below are raised to this before they are averaged: one key of weight e-44 must not decide a mean."""


def dense_logits(call: AttentionCall) -> Tensor:
    """Return float64 logits after scale, softcap, bias and masking, ``(batch, head, query, key)``.

    Returns:
        ``(batch, head, query, key)``; -inf where a key is not visible.
    """
    groups = call.heads // call.kv_heads
    key = call.key.double().repeat_interleave(groups, dim=1)
    logits = call.scale * (call.query.double() @ key.transpose(-1, -2))
    if call.softcap is not None:
        logits = call.softcap * torch.tanh(logits / call.softcap)
    if call.bias is not None:
        logits = logits + call.bias.double()
    seen = call.visibility.block(0, call.n_queries, 0, call.n_keys, call.n_queries, call.n_keys, logits.device)
    return logits.masked_fill(~seen, -math.inf)


def _log_normaliser(call: AttentionCall, logits: Tensor) -> Tensor:
    normaliser = torch.logsumexp(logits, dim=-1)
    if call.sink is not None:
        normaliser = torch.logaddexp(normaliser, call.sink.double()[None, :, None])
    return normaliser


def dense_weights(call: AttentionCall) -> Tensor:
    """Return float64 attention weights, ``(batch, head, query, key)``.

    Returns:
        ``(batch, head, query, key)``; a row that sees nothing is NaN.
    """
    logits = dense_logits(call)
    weights = torch.exp(logits - _log_normaliser(call, logits)[..., None])
    return weights.masked_fill(torch.isneginf(logits).all(-1, keepdim=True), math.nan)


@torch.no_grad()
def dense(call: AttentionCall, extras: Extras | None = None) -> Moments:
    """Compute the moments of one call in float64 by definition, from the full weight matrix.

    Args:
        call: The attention call; its ``(query, key)`` array must fit in memory.
        extras: Further moments wanted.

    Returns:
        Moments in float64, without gradient.
    """
    extras = extras or Extras()
    logits = dense_logits(call)
    seen = ~torch.isneginf(logits)
    weights = dense_weights(call)
    visible = seen.sum(-1)
    empty = visible == 0
    filled = weights.masked_fill(empty[..., None], 0.0)
    nan = torch.full_like(weights[..., 0], math.nan)
    first = call.visibility.own_first_key(call.batch, call.n_queries, call.n_keys, logits.device)
    position = torch.arange(call.n_keys, device=logits.device)
    offset = call.offset
    distance = torch.arange(call.n_queries, device=logits.device)[:, None] + (offset or 0) - position[None, :]

    def mass(select: Tensor) -> Tensor:
        return torch.where(empty, nan, (filled * select).sum(-1))

    def on_diagonal(value: Tensor) -> Tensor:
        return nan if offset is None else value

    has_previous = ((distance == 1) & seen).any(-1)
    surprise = torch.xlogy(filled, filled)
    is_first = (position == first[..., None])[:, None]  # (batch, 1, query, key)
    rows = RowMoments(
        visible=visible,
        logsumexp=torch.where(empty, nan, _log_normaliser(call, logits)),
        total=weights.sum(-1),
        entropy=torch.where(empty, nan, -surprise.sum(-1)),
        max_weight=weights.amax(-1),
        collision=(weights**2).sum(-1),
        mean_position=mass((position - first[..., None])[:, None].double()),
        self_mass=on_diagonal(mass(distance == 0)),
        previous_mass=on_diagonal(torch.where(has_previous, mass(distance == 1), nan)),
        first_mass=mass(is_first),
        local_mass=on_diagonal(mass(distance.abs() <= LOCAL_DISTANCE)),
        lag_overlap=_overlap(weights, LAGS[0]),
        distant_overlap=_overlap(weights, LAGS[1]),
        n_keys=call.n_keys,
        has_sink=call.sink is not None,
        none_empty=False,
        **_dense_extras(call, extras, weights, seen, distance, is_first),
    )
    output = None
    if call.value is not None:
        values = call.value.double().repeat_interleave(call.heads // call.kv_heads, dim=1)
        output = filled @ values
    keys = KeyMoments(received=filled.sum(-2), seen_by=seen.sum(-2))
    return Moments(rows=rows, keys=keys, output=output, engine="dense")


def _overlap(weights: Tensor, lag: int) -> Tensor:
    """``A_i . A_(i + lag)``: ``(batch, head, query)``, NaN for the last ``lag`` queries."""
    found = torch.full_like(weights[..., 0], math.nan)
    if weights.shape[2] > lag:
        found[..., :-lag] = (weights[..., :-lag, :] * weights[..., lag:, :]).sum(-1)
    return found


def _dense_extras(
    call: AttentionCall, extras: Extras, weights: Tensor, seen: Tensor, distance: Tensor, is_first: Tensor
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if extras.groups is not None:
        found |= _dense_groups(call, extras.groups, weights, seen)
    if extras.distances:
        away = distance.abs()
        edges = (*DISTANCE_EDGES, call.n_keys + call.n_queries + DISTANCE_EDGES[-1])
        bins = [(weights * ((away >= low) & (away < high))).sum(-1) for low, high in pairwise(edges)]
        found["distance_mass"] = torch.stack(bins, dim=-1)
    if extras.contrast:
        logs = weights.log().clamp_min(LOG_FLOOR)
        counted = seen & ~is_first & (distance != 0)
        near, far = counted & (distance.abs() <= LOCAL_DISTANCE), counted & (distance.abs() > LOCAL_DISTANCE)
        mean = [torch.where(side, logs, torch.zeros_like(logs)).sum(-1) / side.sum(-1) for side in (near, far)]
        found["log_contrast"] = mean[0] - mean[1]
    if call.offset is None:
        for name in ("distance_mass", "log_contrast"):
            if name in found:
                found[name] = torch.full_like(found[name], math.nan)
    return found


def _dense_groups(call: AttentionCall, groups: Groups, weights: Tensor, seen: Tensor) -> dict[str, Tensor]:
    labels = GroupLabels.of(call, groups)
    found: dict[str, Tensor] = {}
    if labels is None:
        return found
    if labels.columns is not None:
        columns = labels.columns.double()[:, None]
        found |= dict(labels.named(weights @ columns, seen.double() @ columns, 0, call.n_queries))
    for match in labels.matches:
        pairs = match.block(0, call.n_queries, 0, call.n_keys)[:, None]
        found |= dict(match.named((weights * pairs).sum(-1), (seen & pairs).sum(-1), 0, call.n_queries))
    return found
