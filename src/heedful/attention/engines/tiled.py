"""Default engine: processes blocks of queries with their keys, on any device and dtype.

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

from heedful.attention.axes import LAGS, LOCAL_DISTANCE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.blocks import UNSEEN, BlockPart, Scratch, Tail, plan, without_autocast
from heedful.attention.engines.gathered import LN2, SUMS, Gathered
from heedful.attention.engines.groups import GroupLabels
from heedful.attention.engines.moments import Extras, Moments
from heedful.attention.engines.one_block import distance_mass, fits_one_block, group_moments, in_one_block, log_contrast


@dataclass(frozen=True)
class WeightBlock:
    """Unnormalised weights of queries ``[begin, end)`` and keys ``[first, last)``.

    Attributes:
        seen: Bool, broadcastable to ``(batch, head, query, key)`` of the block; None under the causal rule or no rule.
        peak: ``(batch, head, query)`` base-2 logit that was subtracted.
        scaled: ``(batch, head, query, key)`` base-2 logits less the peak.
        weights: ``2 ** scaled``.
        raw: Sum of the weights.
        size: The same with the learned sink where there is one: the normaliser.
        inverse: One over it, 0 at rows that see nothing.
    """

    begin: int
    end: int
    first: int
    last: int
    seen: Tensor | None
    peak: Tensor
    scaled: Tensor
    weights: Tensor
    raw: Tensor
    size: Tensor
    inverse: Tensor


def tiled(call: AttentionCall, extras: Extras | None = None, *, elements: int | None = None) -> Moments:
    """Compute the moments of one call in query blocks, in float32, or in float64 for float64 input.

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
    with torch.no_grad(), without_autocast(device):
        labels, parts = GroupLabels.of(call, extras.groups), list(plan(call, elements))
        if fits_one_block(call, parts):
            return in_one_block(call, parts, dtype, extras, labels)
        gathered = Gathered.of(call, dtype)
        first = call.visibility.own_first_key(call.batch, call.n_queries, call.n_keys, device)
        scratch = Scratch(dtype, device)
        for batch, kv_heads, block_rows in parts:
            part = BlockPart.of(call, (batch, kv_heads), dtype, first, labels)
            tail = Tail()
            for begin in range(0, call.n_queries, block_rows):
                block = _weigh(part, scratch, begin, min(begin + block_rows, call.n_queries))
                _add_extras(part, block, extras, gathered)
                _add_sums(part, block, tail, scratch, gathered)
        return gathered.moments(call, "tiled")


def _weigh(part: BlockPart, scratch: Scratch, begin: int, end: int) -> WeightBlock:
    call = part.call
    first, last = call.visibility.key_range(begin, end, call.n_queries, call.n_keys)
    if first == last:
        first, last = (first - 1, last) if first else (0, 1)
    logits = _logits(part, scratch, begin, end, first, last)
    seen = _hide(call, logits, begin, end, first, last)
    # Half of UNSEEN as the least peak: a row that sees nothing gets weights of 0, not of 1.
    peak = logits.amax(-1, keepdim=True).clamp_(min=UNSEEN / 2)
    sink = None if call.sink is None else (call.sink / LN2)[None, :, None]
    if sink is not None:
        peak = torch.maximum(peak, sink[..., None])
    scaled = logits.sub_(peak)
    weights = torch.exp2(scaled, out=scratch.take(1, tuple(scaled.shape)))
    raw, peak = weights.sum(-1), peak[..., 0]
    size = raw if sink is None else raw + torch.exp2(sink - peak)
    inverse = size.reciprocal().masked_fill_(raw == 0, 0.0)
    return WeightBlock(begin, end, first, last, seen, peak, scaled, weights, raw, size, inverse)


def _logits(part: BlockPart, scratch: Scratch, begin: int, end: int, first: int, last: int) -> Tensor:
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


def _hide(call: AttentionCall, logits: Tensor, begin: int, end: int, first: int, last: int) -> Tensor | None:
    """Mask what is not visible, in place; the visibility, or None where it is the causal rule or none."""
    visibility, device = call.visibility, logits.device
    if visibility.hides_nothing():
        return None
    if visibility.only_causal():
        own = begin + visibility.start(call.n_queries, call.n_keys)
        clear = min(max(first, own), last)  # every row sees the keys before
        future = torch.ones(end - begin, last - clear, dtype=torch.bool, device=device).triu(own - clear + 1)
        logits[..., clear - first :].masked_fill_(future, UNSEEN)
        return None
    seen = visibility.block(begin, end, first, last, call.n_queries, call.n_keys, device)
    logits.masked_fill_(~seen, UNSEEN)
    return seen


def _add_sums(part: BlockPart, block: WeightBlock, tail: Tail, scratch: Scratch, gathered: Gathered) -> None:
    """Reduce one block and store its sums; the block's logits are used up."""
    call, weights, scaled = part.call, block.weights, block.scaled
    batch, heads, rows, keys = weights.shape
    span, columns = (*part.target, slice(block.begin, block.end)), (*part.target, slice(block.first, block.last))
    sums = [
        block.size,
        block.raw,
        block.peak,
        torch.ones_like(block.raw) if call.sink is None else weights.amax(-1),
        torch.mul(weights, scaled, out=scaled).sum(-1),
        torch.mul(weights, weights, out=scaled).sum(-1),
        _position_sum(part, block),
    ]
    gathered.sums[(slice(0, len(sums)), *span)] = torch.stack(sums)
    for lag, begin, products in tail.products(weights, block.begin, block.first, scratch):
        pairs = slice(begin, begin + products.shape[2])
        gathered.sums[(SUMS.index("adjacent") + LAGS.index(lag), *part.target, pairs)] = products
    gathered.near[span] = _near_weights(part, block)
    received = torch.bmm(block.inverse.view(batch * heads, 1, rows), weights.view(batch * heads, rows, keys))
    gathered.received[columns].add_(received.view(batch, heads, keys))
    if block.seen is not None:
        gathered.visible[span] = block.seen.sum(-1)
        gathered.seen_by[columns].add_(block.seen.sum(-2))
    if gathered.output is not None and part.value is not None:
        summed = torch.bmm(weights.view(batch * call.kv_heads, -1, keys), part.value[:, block.first : block.last])
        gathered.output[span] = summed.view(batch, heads, rows, -1)


def _position_sum(part: BlockPart, block: WeightBlock) -> Tensor:
    """Sum of weight times key position, counted from the first key of the row's sequence or document."""
    batch, heads, rows, keys = block.weights.shape
    if part.position is not None:
        by_sequence = block.weights.view(batch, heads * rows, keys)
        return torch.bmm(by_sequence, part.position[:, block.first : block.last]).view(batch, heads, rows)
    key = torch.arange(block.first, block.last, device=block.weights.device)
    away = (key - part.first[:, block.begin : block.end, None]).to(block.weights)
    return torch.einsum("bhqk,bqk->bhq", block.weights, away)


def _near_weights(part: BlockPart, block: WeightBlock) -> Tensor:
    """Weights around each query's own position and on the first key; NaN at a key before that is not seen."""
    batch, heads, _, keys = block.weights.shape
    index = part.near[:, :, block.begin : block.end] - block.first
    inside = (index >= 0) & (index < keys)
    index = index.clamp(0, keys - 1)
    near = torch.gather(block.weights, -1, index.expand(-1, heads, -1, -1)) * inside
    if block.seen is not None:
        before = index[..., LOCAL_DISTANCE - 1, None].expand(-1, block.seen.shape[1], -1, -1)
        picked = torch.gather(block.seen.expand(batch, -1, -1, -1), -1, before)[..., 0]
        near[..., LOCAL_DISTANCE - 1].masked_fill_(~picked | ~inside[..., LOCAL_DISTANCE - 1], math.nan)
    return near


def _add_extras(part: BlockPart, block: WeightBlock, extras: Extras, gathered: Gathered) -> None:
    if part.labels is None and not extras.distances and not extras.contrast:
        return
    call, weights = part.call, block.weights
    span = slice(block.begin, block.end)
    seen = call.visibility.block(
        block.begin, block.end, block.first, block.last, call.n_queries, call.n_keys, weights.device
    )
    known = block.size.reciprocal().masked_fill(~seen.any(-1), math.nan)
    for name, value in group_moments(part.labels, weights, known, seen, (block.begin, block.end), block.first):
        gathered.add_extra(name, value, part.target, span)
    if extras.distances:
        mass = distance_mass(call, weights, known, block.begin, block.first)
        gathered.add_extra("distance_mass", mass, part.target, span)
    if extras.contrast:
        logs = (block.scaled * LN2).sub_(block.size.log()[..., None])
        contrast = log_contrast(call, logs, part.first, block.begin, block.end, block.first, block.last)
        gathered.add_extra("log_contrast", contrast, part.target, span)
