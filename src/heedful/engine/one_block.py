"""A call, or a part of one, whose rows fit into one block: all moments at once, with nothing gathered over blocks.

Short sequences cost what their operations cost to start, not what they compute. So each is made once, the weights are
normalised first, and what depends on lengths alone comes out of ``layout``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from heedful.core.axes import LAGS, LOCAL_DISTANCE
from heedful.core.call import AttentionCall
from heedful.engine.blocks import Scratch, cut
from heedful.engine.gathered import LN2
from heedful.engine.groups import Labels
from heedful.engine.layout import UNSEEN, Layout, layout
from heedful.engine.moments import Extras, KeyMoments, Moments, RowMoments
from heedful.engine.tiled_extras import distance_mass, group_moments, log_contrast


@dataclass(frozen=True)
class Whole:
    """Weights of every row of a call.

    Attributes:
        call: The call, in the dtype of the statistics.
        first: ``(batch, query)`` first key that the sequence, or the query's document, shows.
        laid: The layout of the call.
        seen: Bool, broadcastable to ``(batch, head, query, key)``; None under the causal rule or no rule.
        empty: Bool, broadcastable to ``(batch, head, query)``, True at rows that see nothing; None where none can.
        peak: ``(batch, head, query, 1)`` largest base-2 logit, the sink's included.
        scaled: ``(batch, head, query, key)`` base-2 logits less the peak.
        size: ``(batch, head, query, 1)`` sum of ``2 ** scaled``, with the sink's.
        raw: The same without it.
        weights: ``(batch, head, query, key)``, 0 at rows that see nothing.
    """

    call: AttentionCall
    first: Tensor
    laid: Layout
    seen: Tensor | None
    empty: Tensor | None
    peak: Tensor
    scaled: Tensor
    size: Tensor
    raw: Tensor
    weights: Tensor

    @classmethod
    def of(cls, call: AttentionCall, first: Tensor, dtype: torch.dtype, scratch: Scratch) -> Whole:
        """Weigh all keys of a call."""
        laid, rules = layout(call, dtype), call.visibility
        logits = _logits(call, scratch)
        seen, empty = None, laid.empty
        if rules.only_causal():
            laid.hide(logits)
        elif not rules.hides_nothing():
            seen = rules.block(0, call.n_queries, 0, call.n_keys, call.n_queries, call.n_keys, logits.device)
            logits.masked_fill_(~seen, UNSEEN)
            empty = ~seen.any(-1)
        # Half of UNSEEN as the least peak: a row that sees nothing gets weights of 0, not of 1.
        peak = logits.amax(-1, keepdim=True).clamp_(min=UNSEEN / 2)
        sink = None if call.sink is None else (call.sink / LN2)[None, :, None, None]
        if sink is not None:
            peak = torch.maximum(peak, sink)
        scaled = logits.sub_(peak)
        weights = torch.exp2(scaled, out=scratch.take(1, tuple(scaled.shape)))
        raw = weights.sum(-1, keepdim=True)
        size = raw if sink is None else raw + torch.exp2(sink - peak)
        inverse = size.reciprocal()
        if empty is not None:
            inverse.masked_fill_(empty[..., None], 0.0)
        return cls(call, first, laid, seen, empty, peak, scaled, size, raw, weights.mul_(inverse))


Parts = list[tuple[slice, slice, int]]
"""Sequences, key heads and rows a block, as ``plan`` yields them."""


def fits_one_block(call: AttentionCall, parts: Parts) -> bool:
    """Whether each part of a call is one block of all queries against all keys."""
    n_queries, n_keys = call.n_queries, call.n_keys
    return parts[0][2] >= n_queries and call.visibility.key_range(0, n_queries, n_queries, n_keys) == (0, n_keys)


def in_one_block(
    call: AttentionCall, parts: Parts, dtype: torch.dtype, extras: Extras, labels: Labels | None
) -> Moments:
    """Moments of a call of which each part is one block.

    Args:
        call: The call.
        parts: Its parts.
        dtype: Of the statistics.
        extras: Further moments wanted.
        labels: Groups of the call's sequences, or None.

    Returns:
        Moments on the device of the query.
    """
    scratch = Scratch(dtype, call.query.device)
    first = call.visibility.own_first_key(call.batch, call.n_queries, call.n_keys, call.query.device)
    found: dict[int, list[Moments]] = {}
    for batch, kv_heads, _ in parts:
        part = None if labels is None else labels.part(batch).to(dtype)
        found.setdefault(batch.start, []).append(
            _part_moments(
                Whole.of(cut(call, batch, kv_heads, dtype), first[batch], dtype, scratch), scratch, extras, part
            )
        )
    return _joined([_joined(heads, 1) for heads in found.values()], 0)


def _joined(parts: list[Moments], dim: int) -> Moments:
    """Moments of several parts as one."""
    if len(parts) == 1:
        return parts[0]

    def together(records: list[Any]) -> dict[str, Tensor]:
        columns = {field.name: [getattr(record, field.name) for record in records] for field in fields(records[0])}
        return {name: torch.cat(column, dim) for name, column in columns.items() if isinstance(column[0], Tensor)}

    return Moments(
        replace(parts[0].rows, **together([part.rows for part in parts])),
        KeyMoments(**together([part.keys for part in parts])),
        together(parts).get("output"),
        parts[0].engine,
    )


def _part_moments(whole: Whole, scratch: Scratch, extras: Extras, labels: Labels | None) -> Moments:
    call, weights, shape = whole.call, whole.weights, whole.weights.shape
    further = _extras(whole, extras, labels)
    keys = KeyMoments(weights.sum(-2), _counted(whole.seen, whole.laid.seen_by, -2, (*shape[:2], shape[3])))
    output = None
    if call.value is not None:
        value = call.value.reshape(-1, *call.value.shape[2:])
        output = torch.bmm(weights.view(len(value), -1, shape[3]), value).view(*shape[:3], -1)
    visible = _counted(whole.seen, whole.laid.visible, -1, shape[:3])
    rows = RowMoments(
        visible=visible, n_keys=call.n_keys, has_sink=call.sink is not None, **_row_moments(whole, scratch), **further
    )
    return Moments(rows, keys, output, "tiled")


def _logits(call: AttentionCall, scratch: Scratch) -> Tensor:
    """Base-2 logits before any rule, ``(batch, head, query, key)`` in scratch."""
    stacked, width = call.batch * call.kv_heads, call.query.shape[-1]
    query, key = call.query.reshape(stacked, -1, width), call.key.reshape(stacked, -1, width).transpose(1, 2)
    logits = scratch.take(0, (stacked, query.shape[1], call.n_keys))
    if call.softcap is None:
        torch.baddbmm(logits, query, key, beta=0, alpha=call.scale / LN2, out=logits)
    else:
        torch.baddbmm(logits, query, key, beta=0, alpha=call.scale / call.softcap, out=logits)
        logits.tanh_().mul_(call.softcap / LN2)
    logits = logits.view(call.batch, call.heads, call.n_queries, call.n_keys)
    if call.bias is not None:
        logits.add_(call.bias.to(logits), alpha=1 / LN2)
    return logits


def _counted(seen: Tensor | None, plain: Tensor, dim: int, shape: tuple[int, ...]) -> Tensor:
    """Number of visible pairs along an axis, in memory of its own."""
    return (plain if seen is None else seen.sum(dim)).expand(shape).clone(memory_format=torch.contiguous_format)


def _row_moments(whole: Whole, scratch: Scratch) -> dict[str, Tensor]:
    """Moments of each row by name; uses the scaled logits up."""
    weights, scaled, size = whole.weights, whole.scaled, whole.size[..., 0]
    log_size, total = size.log(), whole.raw[..., 0] / size
    surprise = torch.mul(weights, scaled, out=scaled).sum(-1)
    whole_total = log_size if whole.call.sink is None else total * log_size
    found = {
        "logsumexp": torch.add(log_size, whole.peak[..., 0], alpha=LN2),
        "total": total,
        "entropy": torch.sub(whole_total, surprise, alpha=LN2).clamp_min_(0),
        "max_weight": weights.amax(-1) if whole.call.sink is not None else size.reciprocal(),
        "collision": torch.linalg.vector_norm(weights, dim=-1).square_(),
        **_by_position(whole),
    }
    for name, lag in zip(("lag_overlap", "distant_overlap"), LAGS, strict=True):
        found[name] = _overlap(weights, lag, scaled)
    if whole.empty is None:
        return found
    known = torch.stack(list(found.values())).masked_fill_(whole.empty, math.nan)
    for lag, overlap in zip(LAGS, known[-len(LAGS) :], strict=True):
        overlap[..., :-lag].masked_fill_(whole.empty[..., lag:], math.nan)
    return dict(zip(found, known.unbind(), strict=True))


def _by_position(whole: Whole) -> dict[str, Tensor]:
    """Mean position, and weight on the first key, the own, the one before and those around."""
    weights, laid, call = whole.weights, whole.laid, whole.call
    batch, heads, rows, keys = weights.shape
    if whole.seen is None:
        mean, first_mass = (
            torch.mv(weights.view(-1, keys), laid.position).view(batch, heads, rows),
            weights[..., 0].clone(),
        )
    else:
        first = whole.first
        first_mass = torch.gather(weights, -1, first[:, None, :, None].expand(-1, heads, -1, -1))[..., 0]
        if call.visibility.documents is None:
            away = laid.position - first[:, :1]
            mean = torch.bmm(weights.view(batch, -1, keys), away[..., None]).view(batch, heads, rows)
        else:
            mean = torch.einsum("bhqk,bqk->bhq", weights, laid.position - first[..., None])
    found = {"mean_position": mean, "first_mass": first_mass}
    if laid.around is None or laid.outside is None:
        return found | {name: torch.full_like(mean, math.nan) for name in ("self_mass", "previous_mass", "local_mass")}
    near = torch.gather(weights, -1, laid.around.expand(batch, heads, -1, -1))
    near.masked_fill_(laid.outside, 0.0)
    before = LOCAL_DISTANCE - 1
    missing = laid.outside[:, before]
    if whole.seen is not None:
        at = laid.around[:, before, None].expand(batch, whole.seen.shape[1], -1, -1)
        missing = missing | ~torch.gather(whole.seen.expand(batch, -1, -1, -1), -1, at)[..., 0]
    return found | {
        "self_mass": near[..., LOCAL_DISTANCE],
        "local_mass": near.sum(-1),
        "previous_mass": near[..., before].masked_fill(missing, math.nan),
    }


def _overlap(weights: Tensor, lag: int, room: Tensor) -> Tensor:
    """``A_i . A_(i + lag)``; NaN for the last ``lag`` rows. ``room`` is overwritten."""
    if weights.shape[2] <= lag:
        return torch.full_like(weights[..., 0], math.nan)
    torch.mul(weights[:, :, :-lag], weights[:, :, lag:], out=room[:, :, :-lag])
    room[:, :, -lag:].fill_(math.nan)
    return room.sum(-1)


def _extras(whole: Whole, extras: Extras, labels: Labels | None) -> dict[str, Tensor]:
    """Further moments of each row by name."""
    if labels is None and not extras.distances and not extras.contrast:
        return {}
    call, weights = whole.call, whole.weights
    rows, keys, device = call.n_queries, call.n_keys, weights.device
    seen = call.visibility.block(0, rows, 0, keys, rows, keys, device) if whole.seen is None else whole.seen
    known = torch.ones_like(weights[..., 0]).masked_fill_(~seen.any(-1), math.nan)
    found = dict(group_moments(labels, weights, known, seen, (0, rows), 0))
    if extras.distances:
        found["distance_mass"] = distance_mass(call, weights, known, 0, 0)
    if extras.contrast:
        logs = (whole.scaled * LN2).sub_(whole.size.log())
        found["log_contrast"] = log_contrast(call, logs, whole.first, 0, rows, 0, keys)
    return found
