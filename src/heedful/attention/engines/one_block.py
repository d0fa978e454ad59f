"""Compute all moments at once, for calls that fit into one block.

Short sequences cost what their operations cost to start, not what they compute. So each is made once, weights are
normalised first, what depends on lengths alone comes out of ``layout``, and rows that are compared with later ones or
read around their own position are views of one buffer.

Optional moments of the ``tiled`` engine that need their own pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from heedful.attention.axes import DISTANCE_EDGES, LAGS, LOCAL_DISTANCE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.blocks import UNSEEN, CallPositions, cut, layout
from heedful.attention.engines.dense import LOG_FLOOR
from heedful.attention.engines.gathered import LN2
from heedful.attention.engines.groups import GroupLabels
from heedful.attention.engines.moments import Extras, KeyMoments, Moments, RowMoments

BEFORE = 16
"""Elements of the buffer before the first weight: more than are read before a row's own position."""


@dataclass(slots=True)
class Whole:
    """Attention weights of every row of a call.

    Attributes:
        call: The call, in the dtype of the statistics.
        first: ``(batch, query)`` first key that the sequence, or the query's document, shows; None where it is key 0
            by the causal rule or no rule, and nobody asks.
        laid: The layout of the call.
        seen: Bool, broadcastable to ``(batch, head, query, key)``; None under the causal rule or no rule.
        empty: Bool, broadcastable to ``(batch, head, query)``, True at rows that see nothing; None where none can.
        scaled: ``(batch, head, query, key)`` base-2 logits less the peak.
        peak: ``(batch, head, query)`` largest base-2 logit, the sink's included.
        size: ``(batch, head, query)`` sum of ``2 ** scaled``, with the sink's.
        raw: The same without it.
        inverse: One over the size, 0 at rows that see nothing.
        collision: Sum of the squares of the normalised weights.
        buffer: The weights behind ``BEFORE`` elements of no meaning and before as many rows as the longest lag.
        weights: ``(batch, head, query, key)``, 0 at rows that see nothing.
    """

    call: AttentionCall
    first: Tensor | None
    laid: CallPositions
    seen: Tensor | None
    empty: Tensor | None
    scaled: Tensor
    peak: Tensor
    size: Tensor
    raw: Tensor
    inverse: Tensor
    collision: Tensor
    buffer: Tensor
    weights: Tensor

    @classmethod
    def of(cls, call: AttentionCall, first: Tensor | None, dtype: torch.dtype) -> Whole:
        """Compute the attention weights of a call for all keys."""
        laid, rules = layout(call, dtype), call.visibility
        logits = _logits(call)
        batch, heads, rows, keys = logits.shape
        seen, empty = None, laid.empty
        if rules.only_causal():
            laid.hide(logits)
        elif not rules.hides_nothing():
            seen = rules.block(0, rows, 0, keys, rows, keys, logits.device)
            logits.masked_fill_(~seen, UNSEEN)
            empty = ~seen.any(-1)
        peak = logits.amax(-1)
        if empty is not None:
            peak.clamp_(min=UNSEEN / 2)  # a row that sees nothing gets weights of 0, not of 1
        sink = None if call.sink is None else (call.sink / LN2)[None, :, None]
        if sink is not None:
            peak = torch.maximum(peak, sink)
        scaled = logits.sub_(peak.unsqueeze(-1))
        buffer = scaled.new_empty(BEFORE + (batch * heads * rows + max(LAGS)) * keys)
        weights = torch.exp2(scaled, out=buffer.as_strided(scaled.shape, scaled.stride(), BEFORE))
        raw = weights.sum(-1)
        size = raw if sink is None else raw + torch.exp2(sink - peak)
        inverse = size.reciprocal()
        if empty is not None:
            inverse.masked_fill_(empty, 0.0)
        # Squares of weights that are not normalised yet: sums of ones are exact, so that equal weights stay equal.
        collision = torch.mul(weights, weights).sum(-1).mul_(inverse).mul_(inverse)
        weights.mul_(inverse.unsqueeze(-1))
        return cls(call, first, laid, seen, empty, scaled, peak, size, raw, inverse, collision, buffer, weights)

    def moved(self, by: int, step: int, width: int) -> Tensor:
        """Return a strided view of the buffer in which row ``i`` starts ``by + i * step`` elements after the first
        weight.
        """
        batch, heads, rows, keys = self.weights.shape
        size = rows * keys
        return self.buffer.as_strided((batch, heads, rows, width), (heads * size, size, step, 1), BEFORE + by)


Parts = list[tuple[slice, slice, int]]
"""Sequences, key heads and rows a block, as ``plan`` yields them."""


def fits_one_block(call: AttentionCall, parts: Parts) -> bool:
    """Return whether every part of a call fits into one block; ``plan`` divides a call by sequences and key heads."""
    n_queries, n_keys = call.n_queries, call.n_keys
    return parts[0][2] >= n_queries and call.visibility.key_range(0, n_queries, n_queries, n_keys) == (0, n_keys)


def in_one_block(
    call: AttentionCall, parts: Parts, dtype: torch.dtype, extras: Extras, labels: GroupLabels | None
) -> Moments:
    """Compute the moments of a call whose parts each fit into one block; ``plan`` divides a call by sequences and key
    heads.

    Args:
        call: The call.
        parts: Its parts.
        dtype: Of the statistics.
        extras: Further moments wanted.
        labels: Groups of the call's sequences, or None.

    Returns:
        Moments on the device of the query.
    """
    rules, first = call.visibility, None
    if extras.contrast or not (rules.only_causal() or rules.hides_nothing()):
        first = rules.own_first_key(call.batch, call.n_queries, call.n_keys, call.query.device)
    found: dict[int, list[Moments]] = {}
    for batch, kv_heads, _ in parts:
        part = None if labels is None else labels.part(batch).to(dtype)
        whole = Whole.of(cut(call, batch, kv_heads, dtype), None if first is None else first[batch], dtype)
        pools = None if extras.pools is None else extras.pools[:, batch].to(whole.weights)
        found.setdefault(batch.start, []).append(_part_moments(whole, extras, part, pools))
    return _joined([_joined(heads, 1) for heads in found.values()], 0)


def _joined(parts: list[Moments], dim: int) -> Moments:
    """Moments of several parts as one."""
    if len(parts) == 1:
        return parts[0]

    def together(records: list[Any]) -> dict[str, Any]:
        columns = {field.name: [getattr(record, field.name) for record in records] for field in fields(records[0])}
        return {name: torch.cat(column, dim) for name, column in columns.items() if isinstance(column[0], Tensor)}

    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Moments(
        replace(parts[0].rows, **together([part.rows for part in parts])),
        KeyMoments(**together([part.keys for part in parts])),
        None if parts[0].output is None else torch.cat([part.output for part in parts if part.output is not None], dim),
        parts[0].engine,
        None if not pooled else torch.cat(pooled, 1) if dim else torch.stack(pooled).sum(0),
    )


def _part_moments(whole: Whole, extras: Extras, labels: GroupLabels | None, pools: Tensor | None) -> Moments:
    call, weights = whole.call, whole.weights
    batch, heads, rows, keys = weights.shape
    further = _extras(whole, extras, labels)
    output = None
    if call.value is not None:
        value = call.value.reshape(-1, *call.value.shape[2:])
        output = torch.bmm(weights.view(len(value), -1, keys), value).view(batch, heads, rows, -1)
    return Moments(
        RowMoments(
            visible=_counted(whole.seen, whole.laid.visible, -1, (batch, heads, rows)),
            n_keys=keys,
            has_sink=call.sink is not None,
            none_empty=whole.empty is None,
            **_row_moments(whole, extras),
            **further,
        ),
        KeyMoments(
            weights.sum(-2) if extras.wants("received") else _left_out(whole, (batch, heads, keys)),
            _counted(whole.seen, whole.laid.seen_by, -2, (batch, heads, keys)),
        ),
        output,
        "tiled",
        None if pools is None else (pools @ weights.view(batch, -1)).view(-1, heads, rows, keys),
    )


def _logits(call: AttentionCall) -> Tensor:
    """Base-2 logits before any rule, ``(batch, head, query, key)``."""
    batch, heads, rows, width = call.query.shape
    kv_heads, keys = call.key.shape[1:3]
    query, key = call.query.reshape(batch * kv_heads, -1, width), call.key.reshape(batch * kv_heads, keys, width)
    logits = query.new_empty(batch * kv_heads, query.shape[1], keys)
    factor = LN2 if call.softcap is None else call.softcap
    torch.baddbmm(logits, query, key.transpose(1, 2), beta=0, alpha=call.scale / factor, out=logits)
    if call.softcap is not None:
        logits.tanh_().mul_(call.softcap / LN2)
    logits = logits.view(batch, heads, rows, keys)
    if call.bias is not None:
        logits.add_(call.bias.to(logits), alpha=1 / LN2)
    return logits


def _counted(seen: Tensor | None, plain: Tensor, dim: int, shape: tuple[int, ...]) -> Tensor:
    """Number of visible pairs along an axis, in memory of its own."""
    return (plain if seen is None else seen.sum(dim)).expand(shape).clone(memory_format=torch.contiguous_format)


def _left_out(whole: Whole, shape: tuple[int, ...]) -> Tensor:
    """In place of a moment that is not wanted."""
    return whole.laid.nothing.expand(shape)


def _row_moments(whole: Whole, extras: Extras) -> dict[str, Tensor]:
    """Moments of each row by name; uses the scaled logits up."""
    weights, room, size = whole.weights, whole.scaled, whole.size
    keys, has_sink = weights.shape[-1], whole.call.sink is not None
    log_size, total = size.log(), whole.raw / size
    surprise = torch.mul(weights, room, out=room).sum(-1)
    found = {
        "logsumexp": torch.add(log_size, whole.peak, alpha=LN2),
        "total": total,
        "entropy": torch.sub(total * log_size if has_sink else log_size, surprise, alpha=LN2).clamp_min_(0),
        "max_weight": weights.amax(-1) if has_sink else whole.inverse,
        "collision": whole.collision,
        **_placed(whole, extras),
    }
    for name, lag, unpaired in zip(("lag_overlap", "distant_overlap"), LAGS, whole.laid.unpaired, strict=True):
        if not extras.wants(name):
            found[name] = _left_out(whole, tuple(size.shape))
            continue
        found[name] = torch.mul(weights, whole.moved(lag * keys, keys, keys), out=room).sum(-1).add_(unpaired)
    if whole.empty is None:
        return found
    known = torch.stack(list(found.values())).masked_fill_(whole.empty, math.nan)
    for lag, overlap in zip(LAGS, known[-len(LAGS) :], strict=True):
        overlap[..., :-lag].masked_fill_(whole.empty[..., lag:], math.nan)
    return dict(zip(found, known.unbind(), strict=True))


def _placed(whole: Whole, extras: Extras) -> dict[str, Tensor]:
    """Mean position, and weight on the first key, the own, the one before and those around."""
    weights, laid = whole.weights, whole.laid
    batch, heads, rows, keys = weights.shape
    mean = _mean_position(whole) if extras.wants("mean_position") else _left_out(whole, (batch, heads, rows))
    found = {"mean_position": mean, "first_mass": _on_first(whole)}
    if laid.around is None or laid.outside is None:
        return found | {
            name: torch.full_like(whole.size, math.nan) for name in ("self_mass", "previous_mass", "local_mass")
        }
    if laid.inside:
        near = whole.moved((whole.call.offset or 0) - LOCAL_DISTANCE, keys + 1, laid.around.shape[1])
    else:
        near = torch.gather(weights, -1, laid.around.expand(batch, heads, -1, -1))
    near = near.masked_fill(laid.outside, 0.0)
    before = LOCAL_DISTANCE - 1
    missing = laid.outside[:, before]
    if whole.seen is not None:
        at = laid.around[:, before, None].expand(batch, whole.seen.shape[1], -1, -1)
        missing = missing | ~torch.gather(whole.seen.expand(batch, -1, -1, -1), -1, at).squeeze(-1)
    return found | {
        "self_mass": near[..., LOCAL_DISTANCE],
        "local_mass": near.sum(-1),
        "previous_mass": near[..., before].masked_fill(missing, math.nan),
    }


def _on_first(whole: Whole) -> Tensor:
    """Weight on the first key of each row."""
    if whole.seen is None or whole.first is None:
        return whole.weights[..., 0].clone()
    index = whole.first[:, None, :, None].expand(-1, whole.weights.shape[1], -1, -1)
    return torch.gather(whole.weights, -1, index).squeeze(-1)


def _mean_position(whole: Whole) -> Tensor:
    """Mean position of each row, counted from its first key."""
    weights, position, first = whole.weights, whole.laid.position, whole.first
    batch, heads, rows, keys = weights.shape
    if whole.seen is None or first is None:
        return torch.mv(weights.view(-1, keys), position).view(batch, heads, rows)
    if whole.call.visibility.documents is None:
        away = position - first[:, :1]
        return torch.bmm(weights.view(batch, -1, keys), away[..., None]).view(batch, heads, rows)
    return torch.einsum("bhqk,bqk->bhq", weights, position - first[..., None])


def _extras(whole: Whole, extras: Extras, labels: GroupLabels | None) -> dict[str, Tensor]:
    """Further moments of each row by name."""
    if labels is None and not extras.distances and not extras.contrast:
        return {}
    call, weights = whole.call, whole.weights
    rows, keys, device = call.n_queries, call.n_keys, weights.device
    seen = call.visibility.block(0, rows, 0, keys, rows, keys, device) if whole.seen is None else whole.seen
    known = (0.0 * whole.size + 1.0).masked_fill_(~seen.any(-1), math.nan)  # NaN where rows are
    found = dict(group_moments(labels, weights, known, seen, (0, rows), 0))
    if extras.distances:
        found["distance_mass"] = distance_mass(call, weights, known, 0, 0)
    if extras.contrast and whole.first is not None:
        logs = (whole.scaled * LN2).sub_(whole.size.log()[..., None])
        found["log_contrast"] = log_contrast(call, logs, whole.first, 0, rows, 0, keys)
    return found


Found = Iterator[tuple[str, Tensor]]
"""Moments of a block by name."""


def group_moments(
    labels: GroupLabels | None, weights: Tensor, known: Tensor, seen: Tensor, span: tuple[int, int], first: int
) -> Found:
    """Yield (name, values) pairs: for each set of keys, its attention mass and its number of visible keys.

    Args:
        labels: Groups of the sequences of the weights, or None.
        weights: ``(batch, head, query, key)`` un-normalised weights of the block.
        known: ``(batch, head, query)`` inverse of their normaliser, NaN at rows that see nothing.
        seen: Bool, broadcastable to ``(batch, head, query, key)``.
        span: First query of the block and end of its queries.
        first: First key of the block.

    Yields:
        Name and ``(batch, head, query, ...)`` values.
    """
    if labels is None:
        return
    batch, heads, rows, keys = weights.shape
    if labels.columns is not None:
        columns = labels.columns[:, first : first + keys]
        mass = torch.bmm(weights.view(batch, heads * rows, keys), columns).view(batch, heads, rows, -1)
        yield from labels.named(mass * known[..., None], seen.to(columns) @ columns[:, None], *span)
    for match in labels.matches:
        pairs = match.block(*span, first, first + keys)
        mass = torch.einsum("bhqk,bqk->bhq", weights, pairs.to(weights))
        yield from match.named(mass * known, (seen & pairs[:, None]).sum(-1), *span)


def distance_mass(call: AttentionCall, weights: Tensor, known: Tensor, begin: int, first: int) -> Tensor:
    """Return each query's attention mass by distance to the key, ``(batch, head, query, bin)``.

    Args:
        call: The part's call.
        weights: ``(batch, head, query, key)`` un-normalised weights of the block.
        known: ``(batch, head, query)`` inverse of their normaliser, NaN at rows that see nothing.
        begin: First query of the block.
        first: First key of the block.

    Returns:
        ``(batch, head, query, bin)``; NaN where queries and keys share no positions.
    """
    n_rows, n_keys = weights.shape[2], weights.shape[3]
    bins = len(DISTANCE_EDGES)
    if call.offset is None:
        return torch.full((*weights.shape[:3], bins), math.nan, dtype=weights.dtype, device=weights.device)
    running = torch.nn.functional.pad(weights.cumsum(-1), (1, 0))
    centre = torch.arange(begin, begin + n_rows, device=weights.device)[:, None] + call.offset - first
    beyond = DISTANCE_EDGES[-1] + call.n_queries + call.n_keys + abs(call.offset)
    edges = torch.tensor([*DISTANCE_EDGES, beyond], device=weights.device)

    def up_to(position: Tensor) -> Tensor:
        return torch.gather(running, -1, position.clamp(0, n_keys).expand(*weights.shape[:2], -1, -1))

    before = up_to(centre - edges + 1)
    mass = before[..., :-1] - before[..., 1:]
    if not call.visibility.is_causal:
        after = up_to(centre + edges)
        mass[..., 1:] += (after[..., 1:] - after[..., :-1])[..., 1:]
    return mass.clamp_(min=0) * known[..., None]


def log_contrast(
    call: AttentionCall, logs: Tensor, own_first: Tensor, begin: int, end: int, first: int, last: int
) -> Tensor:
    """Return each query's mean log weight on keys 1-5 positions away minus that on farther keys, ``(batch, head,
    query)``; the first key is left out.

    Args:
        call: The part's call.
        logs: ``(batch, head, query, key)`` log weights of the block; changed in place.
        own_first: ``(batch, query)`` first key of each row of the call.
        begin: First query of the block.
        end: End of its queries.
        first: First key of the block.
        last: End of its keys.

    Returns:
        ``(batch, head, query)``; NaN where either side is empty.
    """
    if call.offset is None:
        return torch.full(logs.shape[:3], math.nan, dtype=logs.dtype, device=logs.device)
    seen = call.visibility.block(begin, end, first, last, call.n_queries, call.n_keys, logs.device)
    key = torch.arange(first, last, device=logs.device)
    distance = torch.arange(begin, end, device=logs.device)[:, None] + call.offset - key
    other = (key != own_first[:, begin:end, None])[:, None]
    counted = seen & other & (distance != 0)
    near = counted & (distance.abs() <= LOCAL_DISTANCE)
    far = counted & (distance.abs() > LOCAL_DISTANCE)
    logs.clamp_(min=LOG_FLOOR)
    # A sum over each side of its own: the far sum as a difference would lose digits. Empty sides give 0 / 0.
    near_mean, far_mean = ((logs * side).sum(-1) / side.sum(-1) for side in (near, far))
    return near_mean - far_mean
