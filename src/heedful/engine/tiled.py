"""The default engine: blocks of queries against their keys, any device and dtype, never ``(query, key)`` at once.

A block of rows is complete before it is normalised, so one exponential feeds every moment, and column sums and products
of neighbouring rows need no second pass. Logits are held in base 2, because ``exp2`` is several times faster than
``exp`` on a CPU and does not slow down where it underflows. Masked logits hold a large finite number instead of -inf:
their weight is exactly 0 and ``weight * logit`` stays 0 instead of NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.core.axes import LOCAL_DISTANCE
from heedful.core.call import AttentionCall
from heedful.engine.blocks import STANDING, Gathered, Part, Scratch, Tail, plan
from heedful.engine.moments import Extras, Moments
from heedful.engine.tiled_extras import distance_mass, group_visible, log_contrast

LN2 = math.log(2.0)

UNSEEN = -1e30
"""Base-2 logit of a key that is not visible; its exponential is exactly 0 in float32 and float64."""


@dataclass(frozen=True)
class Block:
    """Un-normalised weights of queries ``[begin, end)`` against keys ``[first, last)`` of a part.

    Attributes:
        clear: Keys before this one are seen by every row.
        seen: Bool, broadcastable to ``(batch, head, end - begin, last - clear)``.
        visible: ``(batch, head, query)`` number of visible keys.
        peak: ``(batch, head, query)`` base-2 logit that was subtracted.
        scaled: ``(batch, head, query, key)`` base-2 logits less the peak.
        weights: ``2 ** scaled``.
        raw: Sum of the weights.
        size: The same with the learned sink where there is one: the normaliser.
    """

    begin: int
    end: int
    first: int
    last: int
    clear: int
    seen: Tensor
    visible: Tensor
    peak: Tensor
    scaled: Tensor
    weights: Tensor
    raw: Tensor
    size: Tensor


def tiled(call: AttentionCall, extras: Extras | None = None, *, elements: int | None = None) -> Moments:
    """Moments of one call by query blocks; statistics in float32, in float64 for float64 input.

    Args:
        call: The attention call.
        extras: Further moments wanted.
        elements: Largest number of logits held at once; None chooses by device.

    Returns:
        Moments on the device of the query, without gradient.
    """
    extras = extras or Extras()
    dtype = torch.float64 if call.query.dtype == torch.float64 else torch.float32
    device = call.query.device
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        gathered = Gathered.of(call, dtype)
        first = call.visibility.first_key(call.batch, call.n_queries, call.n_keys, device)
        scratch = Scratch(dtype, device)
        for batch, kv_heads, block_rows in plan(call, elements):
            part = Part.of(call, (batch, kv_heads), dtype, first, extras.groups)
            tail = Tail()
            for begin in range(0, call.n_queries, block_rows):
                block = _weigh(part, scratch, begin, min(begin + block_rows, call.n_queries))
                _gather(part, block, tail, extras, scratch, gathered)
    return gathered.moments(call.n_keys)


def _weigh(part: Part, scratch: Scratch, begin: int, end: int) -> Block:
    call = part.call
    first, last = call.visibility.key_range(begin, end, call.n_queries, call.n_keys)
    if first == last:
        first, last = (first - 1, last) if first else (0, 1)
    logits = _logits(part, scratch, begin, end, first, last)
    clear, seen = _seen(call, begin, end, first, last)
    logits[..., clear - first :].masked_fill_(~seen, UNSEEN)
    visible = (seen.sum(-1) + (clear - first)).expand(call.batch, call.heads, end - begin)
    # Half of UNSEEN as the least peak: a row that sees nothing gets weights of 0, not of 1.
    peak = logits.amax(-1, keepdim=True).clamp_(min=UNSEEN / 2)
    sink = None if call.sink is None else (call.sink / LN2)[None, :, None]
    if sink is not None:
        peak = torch.maximum(peak, sink[..., None])
    scaled = logits.sub_(peak)
    weights = torch.exp2(scaled, out=scratch.take(1, tuple(scaled.shape)))
    raw, peak = weights.sum(-1), peak[..., 0]
    size = raw if sink is None else raw + torch.exp2(sink - peak)
    return Block(begin, end, first, last, clear, seen, visible, peak, scaled, weights, raw, size)


def _logits(part: Part, scratch: Scratch, begin: int, end: int, first: int, last: int) -> Tensor:
    call = part.call
    stacked = call.batch * call.kv_heads
    query = part.query[:, :, :, begin:end].reshape(stacked, -1, call.query.shape[-1])
    logits = scratch.take(0, (stacked, query.shape[1], last - first))
    torch.bmm(query, part.key[:, :, first:last], out=logits)
    logits = logits.view(call.batch, call.heads, end - begin, last - first)
    if call.softcap is not None:
        logits.div_(call.softcap).tanh_().mul_(call.softcap / LN2)
    if call.bias is not None:
        bias = call.bias if call.bias.shape[2] == 1 else call.bias[:, :, begin:end]
        logits.add_((bias if bias.shape[3] == 1 else bias[..., first:last]).to(logits), alpha=1 / LN2)
    return logits


def _seen(call: AttentionCall, begin: int, end: int, first: int, last: int) -> tuple[int, Tensor]:
    """Key before which every row of the block sees everything, and visibility from there to ``last``."""
    visibility, clear = call.visibility, first
    if visibility.only_causal():
        clear = min(max(first, begin + visibility.start(call.n_queries, call.n_keys)), last)
    elif visibility.hides_nothing():
        clear = last
    return clear, visibility.block(begin, end, clear, last, call.n_queries, call.n_keys, call.query.device)


def _gather(part: Part, block: Block, tail: Tail, extras: Extras, scratch: Scratch, gathered: Gathered) -> None:
    """Reduce one block to moments and store them; the block's logits are used up."""
    call, weights = part.call, block.weights
    batch, heads, rows, keys = weights.shape
    span, columns = slice(block.begin, block.end), slice(block.first, block.last)
    empty = block.visible == 0
    inverse = block.size.reciprocal()
    known, given = inverse.masked_fill(empty, math.nan), inverse.masked_fill(empty, 0.0)
    for name, value in _extra_moments(part, block, known, extras).items():
        gathered.add_extra(name, value, part.target, span)
    standing = _standing(part, block, known)
    gathered.standing[(slice(0, len(standing)), *part.target, span)] = torch.stack(standing)
    for name, begin, overlap in tail.overlaps(weights, known, block.begin, block.first, scratch):
        pairs = slice(begin, begin + overlap.shape[2])
        gathered.standing[(STANDING.index(name), *part.target, pairs)] = overlap
    gathered.visible[(*part.target, span)] = block.visible
    gathered.seen_by[(*part.target, slice(block.first, block.clear))] += rows
    gathered.seen_by[(*part.target, slice(block.clear, block.last))] += block.seen.sum(-2)
    received = torch.bmm(given.view(batch * heads, 1, rows), weights.view(batch * heads, rows, keys))
    gathered.received[(*part.target, columns)] += received.view(batch, heads, keys)
    if gathered.output is not None and part.value is not None:
        summed = torch.bmm(weights.view(batch * call.kv_heads, -1, keys), part.value[:, columns])
        gathered.output[(*part.target, span)] = summed.view(batch, heads, rows, -1) * given[..., None]


def _standing(part: Part, block: Block, known: Tensor) -> list[Tensor]:
    """The row moments of a block in the order of ``STANDING``, but for the overlaps; overwrites ``block.scaled``."""
    weights, scaled, size, empty = block.weights, block.scaled, block.size, block.visible == 0
    batch, keys = weights.shape[0], weights.shape[3]
    log_size = size.log()
    total = (block.raw / size).masked_fill(empty, math.nan)
    top = 1.0 if part.call.sink is None else weights.amax(-1)
    surprise = torch.mul(weights, scaled, out=scaled).sum(-1) * LN2
    collision = torch.mul(weights, weights, out=scaled).sum(-1)
    position = torch.bmm(weights.view(batch, -1, keys), part.position[:, block.first : block.last, None])
    own, previous, local = _band(part, block, known)
    return [
        (log_size + block.peak * LN2).masked_fill(empty, math.nan),
        total,
        (total * log_size - surprise * known).clamp_min(0),
        top * known,
        collision * known**2,
        position.view(size.shape) * known,
        own,
        previous,
        _first_mass(part, block) * known,
        local,
    ]


def _first_mass(part: Part, block: Block) -> Tensor:
    index = part.first - block.first
    inside = (index >= 0) & (index < block.last - block.first)
    index = (index * inside)[:, None, None, None].expand(*block.size.shape, 1)
    return torch.gather(block.weights, -1, index)[..., 0] * inside[:, None, None]


def _band(part: Part, block: Block, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight on the query's own position, on the one before, and on all within the local distance."""
    if part.call.offset is None:
        nan = torch.full_like(known, math.nan)
        return nan, nan, nan
    device = known.device
    centre = torch.arange(block.begin, block.end, device=device) + part.call.offset
    index = centre[:, None] + torch.arange(-LOCAL_DISTANCE, LOCAL_DISTANCE + 1, device=device)
    inside = (index >= block.first) & (index < block.last)
    column = (index - block.first).clamp(0, block.last - block.first - 1).expand(*known.shape, -1)
    near = torch.gather(block.weights, -1, column) * inside * known[..., None]
    previous = near[..., LOCAL_DISTANCE - 1].masked_fill(~_sees_previous(block, centre), math.nan)
    return near[..., LOCAL_DISTANCE], previous, near.sum(-1)


def _sees_previous(block: Block, centre: Tensor) -> Tensor:
    """Whether each row sees the key before its own position: bool, broadcastable to ``(batch, head, query)``."""
    before = centre - 1
    cleared = (before >= block.first) & (before < block.clear)
    if block.clear == block.last:
        return cleared
    inside = (before >= block.clear) & (before < block.last)
    column = (before - block.clear).clamp(0, block.last - block.clear - 1)[None, None, :, None]
    picked = torch.gather(block.seen, -1, column.expand(*block.seen.shape[:3], 1))[..., 0]
    return cleared | (picked & inside)


def _extra_moments(part: Part, block: Block, known: Tensor, extras: Extras) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if part.groups is not None:
        batch, heads, rows, keys = block.weights.shape
        summed = torch.bmm(block.weights.view(batch, heads * rows, keys), part.groups[:, block.first : block.last])
        found["group_mass"] = summed.view(batch, heads, rows, -1) * known[..., None]
        found["group_visible"] = group_visible(part, block.seen, block.first, block.clear, block.last)
    if extras.distances:
        found["distance_mass"] = distance_mass(part.call, block.weights, known, block.begin, block.first)
    if extras.contrast:
        logs = (block.scaled * LN2).sub_(block.size.log()[..., None])
        found["log_contrast"] = log_contrast(part, logs, block.begin, block.end, block.first, block.last)
    return found
