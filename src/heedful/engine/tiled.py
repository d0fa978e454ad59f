"""The default engine: blocks of queries against their keys, any device and dtype, never ``(query, key)`` at once.

A block of rows is complete before it is normalised, so one exponential feeds every moment, and column sums and products of
neighbouring rows need no second pass. Masked logits hold a large finite number instead of -inf: their weight is exactly 0
and ``weight * logit`` stays 0 instead of NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.core.axes import LAGS, LOCAL_DISTANCE
from heedful.core.call import AttentionCall
from heedful.engine.blocks import KeySide, Tail, part_of, plan
from heedful.engine.moments import Extras, KeyMoments, Moments, RowMoments
from heedful.engine.tiled_extras import distance_mass, log_contrast

UNSEEN = -1e30
"""Logit of a key that is not visible; its exponential is exactly 0 in float32 and float64."""


@dataclass
class _Block:
    """Un-normalised weights of queries ``[begin, end)`` against keys ``[first, last)``."""

    begin: int
    end: int
    first: int
    last: int
    scaled: Tensor
    weights: Tensor
    normaliser: Tensor
    peak: Tensor
    visible: Tensor


def tiled(call: AttentionCall, extras: Extras | None = None, *, elements: int | None = None) -> Moments:
    """Moments of one call by query blocks; statistics in float32, in float64 for float64 input.

    Args:
        call: The attention call.
        extras: Further moments wanted.
        elements: Largest number of logits held at once; None chooses by device.

    Returns:
        Moments on the device of the query.
    """
    extras = extras or Extras()
    rows: dict[str, Tensor] = {}
    dtype = torch.float64 if call.query.dtype == torch.float64 else torch.float32
    received = torch.zeros(call.batch, call.heads, call.n_keys, dtype=dtype, device=call.query.device)
    seen_by = torch.zeros(call.batch, call.heads, call.n_keys, dtype=torch.int64, device=call.query.device)
    output = None
    if call.value is not None:
        shape = (call.batch, call.heads, call.n_queries, call.value.shape[-1])
        output = torch.zeros(shape, dtype=dtype, device=call.query.device)
    with torch.no_grad():
        for batch, kv_heads, block_rows in plan(call, elements):
            part = part_of(call, batch, kv_heads, dtype)
            groups = None if extras.groups is None else extras.groups[batch].to(call.query.device, dtype)
            heads = slice(kv_heads.start * call.heads // call.kv_heads, kv_heads.stop * call.heads // call.kv_heads)
            target = (batch, heads)
            _run_part(part, replace(extras, groups=groups), block_rows, rows, target, call, received, seen_by, output)
    return Moments(RowMoments(**rows, n_keys=call.n_keys), KeyMoments(received, seen_by), output, "tiled")


def _run_part(
    part: AttentionCall,
    extras: Extras,
    block_rows: int,
    rows: dict[str, Tensor],
    target: tuple[slice, slice],
    call: AttentionCall,
    received: Tensor,
    seen_by: Tensor,
    output: Tensor | None,
) -> None:
    side = KeySide.of(part, extras.groups)
    tail = Tail()
    for begin in range(0, part.n_queries, block_rows):
        end = min(begin + block_rows, part.n_queries)
        block = _weigh(part, side, begin, end)
        found, columns = _reduce(part, side, block, extras)
        for name, value in tail.overlaps(block.weights, block.normaliser, begin, block.first, part.n_queries).items():
            _store(rows, name, value.values, target, slice(value.begin, value.end), call, math.nan)
        for name, tensor in found.items():
            _store(rows, name, tensor, target, slice(begin, end), call, math.nan)
        span = slice(block.first, block.last)
        received[(*target, span)] += columns[0]
        seen_by[(*target, span)] += columns[1]
        if output is not None:
            output[(*target, slice(begin, end))] = columns[2]


def _store(
    rows: dict[str, Tensor],
    name: str,
    value: Tensor,
    target: tuple[slice, slice],
    span: slice,
    call: AttentionCall,
    fill: float,
) -> None:
    if name not in rows:
        shape = (call.batch, call.heads, call.n_queries, *value.shape[3:])
        rows[name] = torch.zeros(shape, dtype=value.dtype, device=value.device)
        if value.is_floating_point():
            rows[name].fill_(fill)
    rows[name][(*target, span)] = value


def _logits(part: AttentionCall, side: KeySide, begin: int, end: int, first: int, last: int) -> Tensor:
    batch, kv_heads, groups = part.batch, part.kv_heads, part.heads // part.kv_heads
    query = side.query[:, :, :, begin:end].reshape(batch * kv_heads, groups * (end - begin), -1)
    logits = torch.bmm(query, side.key[:, first:last].transpose(1, 2))
    logits = logits.view(batch, part.heads, end - begin, last - first)
    if part.softcap is not None:
        logits = logits.div_(part.softcap).tanh_().mul_(part.softcap)
    if part.bias is not None:
        bias = part.bias if part.bias.shape[2] == 1 else part.bias[:, :, begin:end]
        logits.add_((bias if bias.shape[3] == 1 else bias[..., first:last]).to(logits))
    return logits


def _weigh(part: AttentionCall, side: KeySide, begin: int, end: int) -> _Block:
    first, last = part.visibility.key_range(begin, end, part.n_queries, part.n_keys)
    if first == last:
        first, last = (first - 1, last) if first else (0, 1)
    logits = _logits(part, side, begin, end, first, last)
    # Under the causal rule alone every key before the block's first query is seen by all its rows.
    clear = first
    if part.visibility.only_causal():
        clear = min(max(first, begin + part.visibility.start(part.n_queries, part.n_keys)), last)
    seen = part.visibility.block(begin, end, clear, last, part.n_queries, part.n_keys, logits.device)
    logits[..., clear - first :].masked_fill_(~seen, UNSEEN)
    visible = (seen.sum(-1) + (clear - first)).expand(part.batch, part.heads, end - begin)
    peak = logits.amax(-1, keepdim=True)
    if part.sink is not None:
        peak = torch.maximum(peak, part.sink.to(logits)[None, :, None, None])
    scaled = logits.sub_(peak)
    weights = scaled.exp()
    if not bool((visible > 0).all()):
        weights.mul_((visible > 0)[..., None])
    normaliser = weights.sum(-1)
    if part.sink is not None:
        normaliser = normaliser + (part.sink.to(logits)[None, :, None] - peak[..., 0]).exp()
    return _Block(begin, end, first, last, scaled, weights, normaliser, peak[..., 0], visible)


def _rows_dot(left: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.vecdot(left, right)


def _reduce(
    part: AttentionCall, side: KeySide, block: _Block, extras: Extras
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor, Tensor | None]]:
    weights, size = block.weights, block.normaliser
    empty = block.visible == 0
    size = size.masked_fill(empty, math.nan)
    log_size = size.log()
    linear = torch.bmm(
        weights.view(part.batch * part.kv_heads, -1, block.last - block.first), side.linear[:, block.first : block.last]
    ).view(part.batch, part.heads, block.end - block.begin, -1) / size[..., None]
    raw_total = weights.sum(-1) if part.sink is not None else block.normaliser
    total = raw_total / size
    found = {
        "visible": block.visible,
        "logsumexp": log_size + block.peak,
        "total": total,
        "entropy": (total * log_size - _rows_dot(weights, block.scaled) / size).clamp_min(0),
        "max_weight": weights.amax(-1) / size,
        "collision": _rows_dot(weights, weights) / size**2,
        "mean_position": linear[..., 0],
        "first_mass": linear[..., 1],
    }
    found |= _band(part, block, size)
    if extras.groups is not None:
        found["group_mass"] = linear[..., 2 : side.value_start]
        seen = part.visibility.block(
            block.begin, block.end, 0, part.n_keys, part.n_queries, part.n_keys, weights.device
        ).to(weights)
        counts = seen @ extras.groups[:, None]
        found["group_visible"] = counts.expand(part.batch, part.heads, *counts.shape[2:])
    if extras.distances:
        found["distance_mass"] = distance_mass(part, weights, size, block.begin, block.first)
    if extras.contrast:
        logs = block.scaled - log_size[..., None]
        found["log_contrast"] = log_contrast(part, side, logs, block.begin, block.end, block.first, block.last)
    output = linear[..., side.value_start :].nan_to_num() if part.value is not None else None
    inverse = size.reciprocal().nan_to_num()
    flat = weights.view(part.batch * part.heads, block.end - block.begin, block.last - block.first)
    received = torch.bmm(inverse.view(part.batch * part.heads, 1, -1), flat).view(part.batch, part.heads, -1)
    return found, (received, _seen_by(part, block), output)


def _seen_by(part: AttentionCall, block: _Block) -> Tensor:
    if part.visibility.only_causal():
        start = part.visibility.start(part.n_queries, part.n_keys)
        key = torch.arange(block.first, block.last, device=block.weights.device)
        return (block.end - (key - start).clamp(block.begin, block.end))[None, None]
    seen = part.visibility.block(
        block.begin, block.end, block.first, block.last, part.n_queries, part.n_keys, block.weights.device
    )
    return seen.sum(-2).expand(part.batch, part.heads, -1) * (1 if seen.shape[2] > 1 else block.end - block.begin)


def _band(part: AttentionCall, block: _Block, size: Tensor) -> dict[str, Tensor]:
    """Weight on the query's own position, the one before, and all within the local distance."""
    if part.offset is None:
        nan = torch.full_like(size, math.nan)
        return {"self_mass": nan, "previous_mass": nan, "local_mass": nan}
    device = block.weights.device
    centre = torch.arange(block.begin, block.end, device=device) + part.offset
    index = centre[:, None] + torch.arange(-LOCAL_DISTANCE, LOCAL_DISTANCE + 1, device=device)
    inside = (index >= block.first) & (index < block.last)
    local = (index - block.first).clamp(0, block.last - block.first - 1).expand(part.batch, part.heads, -1, -1)
    near = torch.gather(block.weights, -1, local) * inside / size[..., None]
    previous = near[..., LOCAL_DISTANCE - 1]
    exists = (centre >= 1) & (centre <= part.n_keys)
    if not part.visibility.only_causal():
        exists = exists & previous_visible(part, block.begin, block.end, block.weights)
    return {
        "self_mass": near[..., LOCAL_DISTANCE],
        "previous_mass": previous.masked_fill(~exists, math.nan),
        "local_mass": near.sum(-1),
    }


def previous_visible(part: AttentionCall, begin: int, end: int, like: Tensor) -> Tensor:
    """Whether each query sees the key before its own position.

    Returns:
        Bool, broadcastable to ``(batch, head, query)``.
    """
    first = max(0, begin + (part.offset or 0) - 1)
    last = min(part.n_keys, end + (part.offset or 0))
    if first >= last:
        return torch.zeros(1, 1, end - begin, dtype=torch.bool, device=like.device)
    seen = part.visibility.block(begin, end, first, last, part.n_queries, part.n_keys, like.device)
    index = torch.arange(begin, end, device=like.device) + (part.offset or 0) - 1 - first
    inside = (index >= 0) & (index < last - first)
    seen = seen.expand(*seen.shape[:2], end - begin, last - first)
    picked = torch.gather(seen, -1, index.clamp(0, last - first - 1)[None, None, :, None].expand(*seen.shape[:2], -1, 1))
    return picked[..., 0] & inside


