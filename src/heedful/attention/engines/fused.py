"""Compute row and key moments with PyTorch's fused kernels, without storing logits.

With ``(o, Z) = kernel(query, key, value)`` and its log-sum-exp ``Z``, at scale ``s``:

* entropy: ``Z - s q . o_K`` with the keys as values;
* collision: ``exp(Z(2 s) - 2 Z(s))``;
* largest logit: ``Z(512 s) / 512``, too large by at most ``log(n) / 512`` where n keys are visible;
* overlap of rows i and i + m: ``exp(Z' - Z_i - Z_(i+m))``, ``Z'`` of the query ``q_i + q_(i+m)`` over the keys that
  both see;
* received mass: the gradient of the values for an output gradient of ones;
* mean position, groups and segments: values that hold them; weights near the query, on the first key and on keys that
  match the query's token: single products.

Every line is unchanged when one number is added to all logits of a row, so keys are taken from their mean first:
differences of log-sum-exps lose no digits to a common offset.

Compute group masses for the ``fused`` engine: sum weights by kernels over group membership columns, and multiply
single query-key pairs for token matches.

Pairs of equal labels are found by sorting, so that no (query, key) array is built: time follows their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from heedful.attention.axes import LAGS, LOCAL_DISTANCE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.gathered import LN2, NEAR, SUMS, Gathered
from heedful.attention.engines.groups import GroupLabels, Match
from heedful.attention.engines.moments import Extras, Moments
from heedful.attention.engines.spans import (
    KERNELS,
    MASK_ELEMENTS,
    WIDTH,
    Kernel,
    KernelAnswer,
    KernelCall,
    KernelInputs,
    Span,
    spans,
    widened,
)
from heedful.errors import UnsupportedByEngine

SHARPENING = 512
"""Factor of the logits under which their log-sum-exp is their maximum, up to ``log(n) / 512``."""


def refusal(call: AttentionCall, extras: Extras | None = None) -> str | None:
    """Return why the ``fused`` engine cannot compute this call, or None if it can."""
    extras, device = extras or Extras(), call.query.device.type
    reasons = {
        "a finite bias: the kernels know masks alone": call.bias is not None,
        "a softcap: the kernels' logits are plain products": call.softcap is not None,
        "a learned sink: the kernels' rows sum to one": call.sink is not None,
        "float64: the kernels' statistics are float32": torch.float64 in (call.query.dtype, call.key.dtype),
        "mass by distance: bins move with the query, and values do not": extras.distances,
        "log weights of single keys: the kernels return sums of weights": extras.contrast,
        f"device {device!r}: no kernel here returns its log-sum-exp": device not in KERNELS
        or not KERNELS[device].is_there(),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def fused(call: AttentionCall, extras: Extras | None = None) -> Moments:
    """Compute the moments of one call from fused kernels and their log-sum-exp, in float32.

    The maximum weight carries an error: it is too large by a factor of at most ``exp(log(n) / 512)`` for n visible
    keys (0.7 % at 37 keys, 2 % at 32k; exact where one key stands out). Everything else is exact up to rounding.

    Args:
        call: The attention call, without bias, softcap or learned sink.
        extras: Further moments wanted; groups alone can be had.

    Returns:
        Moments on the device of the query, without gradient.

    Raises:
        UnsupportedByEngine: The call or the extras are beyond these identities; the message names the reason.
    """
    extras = extras or Extras()
    reason = refusal(call, extras)
    if reason is not None:
        raise UnsupportedByEngine(f"engine 'fused' cannot do {reason}; ask for engine='tiled'")
    kernel = KERNELS[call.query.device.type]()
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        inputs = KernelInputs.of(call, extras)
        gathered = Gathered.of(call, torch.float32)
        # Kernels give weights that are normalised already: their normaliser is 1 and their peak the log-sum-exp.
        gathered.sums[: SUMS.index("peak")] = 1.0
        begin_groups(inputs, gathered)
        for span in spans(call):
            _add_span(kernel, inputs, span, gathered)
        for lag, name in zip(LAGS, ("adjacent", "distant"), strict=True):
            for span in spans(call, lag):
                _add_overlap(kernel, inputs, span, lag, gathered.sums[SUMS.index(name)], gathered)
        gathered.sums[SUMS.index("peak")] += inputs.shift / LN2
        return gathered.moments(call, "fused")


def _run(kernel: Kernel, call: KernelCall, value: Tensor) -> KernelAnswer:
    """Ask a kernel for values of any width: zeros fill up whichever of keys and values is the narrower."""
    width = max(call.key.shape[-1], value.shape[-1])
    wide = replace(call, query=widened(call.query, width), key=widened(call.key, width))
    answer = kernel.forward(wide, widened(value, wide.key.shape[-1]), 1.0)
    return replace(answer, output=answer.output[..., : value.shape[-1]])


def _by_columns(kernel: Kernel, call: KernelCall, columns: Tensor) -> Tensor:
    """Weighted sums of any number of columns, as many at once as the keys are wide."""
    width = max(WIDTH, call.key.shape[-1])
    return torch.cat([_run(kernel, call, some).output for some in columns.split(width, dim=-1)], dim=-1)


def _add_span(kernel: Kernel, inputs: KernelInputs, span: Span, gathered: Gathered) -> None:
    """Store every sum of a span's rows but the overlaps."""
    if span.first == span.last:
        return
    rows, keys = slice(span.begin, span.end), slice(span.first, span.last)
    query = inputs.query[:, :, rows]
    call = span.kernel_call(inputs, query)
    by_key = kernel.forward(call, call.key, 1.0)
    size = by_key.logsumexp
    columns = _by_columns(kernel, call, inputs.columns[:, :, keys])
    sharp = kernel.forward(call, call.key, SHARPENING).logsumexp / SHARPENING
    twice = kernel.forward(call, call.key, 2.0).logsumexp
    first = inputs.near[:, None, rows, NEAR]
    found = {
        "peak": size / LN2,
        "top": (sharp - size).exp().clamp_max(1.0),
        "surprise": ((query * by_key.output).sum(-1) - size) / LN2,
        "collision": (twice - 2 * size).exp().clamp_max(1.0),
        "position": columns[..., 0] - first,
    }
    for name, value in found.items():
        gathered.sums[SUMS.index(name), :, :, rows] = value
    gathered.near[:, :, rows] = _near_weights(inputs, span, query, size)
    if gathered.output is not None and inputs.value is not None:
        gathered.output[:, :, rows] = _run(kernel, call, inputs.value[:, :, keys]).output
    gradient = torch.ones_like(by_key.output)
    if span.seen is not None:
        some = span.seen.any(-1)
        gradient = gradient * some[..., None]
        gathered.visible[:, :, rows] = span.seen.sum(-1)
        gathered.seen_by[:, :, keys] += span.seen.sum(-2)
        columns = columns.masked_fill(~some[..., None], math.nan)
        if gathered.output is not None:
            gathered.output[:, :, rows].masked_fill_(~some[..., None], 0.0)
    received = kernel.value_gradient(call, by_key, gradient)
    gathered.received[:, :, keys] += received[..., 0]
    add_groups(inputs, span, query, size, columns[..., 1:], gathered)


def _near_weights(inputs: KernelInputs, span: Span, query: Tensor, size: Tensor) -> Tensor:
    """Weights around each query's own position and on its first key; NaN at a key before that is not seen."""
    index = inputs.near[:, span.begin : span.end]
    inside = ((index >= span.first) & (index < span.last))[:, None]
    at = (index - span.first).clamp(0, span.last - span.first - 1)
    if span.seen is not None:
        shape = (inputs.call.batch, span.seen.shape[1], -1, -1)
        inside = inside & torch.gather(span.seen.expand(shape), -1, at[:, None].expand(shape))
    elif span.is_causal:
        inside = inside & (index <= torch.arange(span.begin, span.end, device=index.device)[:, None])[:, None]
    keys = inputs.key[:, :, span.first : span.last]
    products = [
        (query * torch.gather(keys, 2, column[:, None, :, None].expand_as(query))).sum(-1) for column in at.unbind(-1)
    ]
    logs = torch.stack(products, dim=-1) - size[..., None]
    near = logs.masked_fill(~inside, -math.inf).exp()
    # Products rounded otherwise than in the kernel may give a row more than 1: by 1e-4 where logits reach 1000.
    near[..., NEAR].clamp_max_(1.0)
    near[..., :NEAR] /= near[..., :NEAR].sum(-1, keepdim=True).clamp_min(1.0)
    before = LOCAL_DISTANCE - 1
    near[..., before] = near[..., before].masked_fill(~inside[..., before], math.nan)
    return near


def _add_overlap(
    kernel: Kernel, inputs: KernelInputs, span: Span, lag: int, target: Tensor, gathered: Gathered
) -> None:
    """Products of the weights of rows ``lag`` apart, at the earlier row of each pair."""
    early, late = slice(span.begin, span.end), slice(span.begin + lag, span.end + lag)
    if span.first == span.last:
        target[:, :, early] = 0.0
        return
    call = span.kernel_call(inputs, inputs.query[:, :, early] + inputs.query[:, :, late])
    both = kernel.forward(call, call.key, 1.0).logsumexp
    sizes = gathered.sums[SUMS.index("peak")] * LN2
    overlap = (both - sizes[:, :, early] - sizes[:, :, late]).exp()
    if span.seen is not None:
        overlap = overlap.masked_fill(~span.seen.any(-1), 0.0)
    target[:, :, early] = overlap


PAIR_ELEMENTS = 2**21
"""Elements of queries gathered at once for pairs; one query with all its keys is never cut."""


def begin_groups(inputs: KernelInputs, gathered: Gathered) -> None:
    """Store defaults for queries that no span covers: set every group mass to NaN and every number of visible keys to
    0.
    """
    if inputs.labels is None:
        return
    call, labels = inputs.call, inputs.labels
    target, rows = (slice(0, call.batch), slice(0, call.heads)), slice(0, call.n_queries)
    shape = (call.batch, call.heads, call.n_queries)
    for name in ("same_token", "induction") if labels.matches else ():
        undefined = torch.full(shape, math.nan, device=inputs.query.device)
        gathered.add_extra(f"{name}_mass", undefined, target, rows)
        gathered.add_extra(f"{name}_visible", torch.zeros_like(undefined), target, rows)
    if labels.columns is not None:
        undefined = torch.full((*shape, labels.columns.shape[-1]), math.nan, device=inputs.query.device)
        for name, value in labels.named(undefined, torch.zeros_like(undefined), 0, call.n_queries):
            gathered.add_extra(name, value, target, rows)


def add_groups(inputs: KernelInputs, span: Span, query: Tensor, size: Tensor, mass: Tensor, gathered: Gathered) -> None:
    """Store the mass and the number of visible keys of each group for the queries of a span; segments and matching
    tokens are groups too.

    Args:
        inputs: The call.
        span: Its queries and keys.
        query: ``(batch, head, query, width)`` of the span.
        size: ``(batch, head, query)`` log-sum-exp of the span.
        mass: ``(batch, head, query, column)`` mass of the columns; NaN at rows that see nothing.
        gathered: Where it goes.
    """
    labels = inputs.labels
    if labels is None:
        return
    target = (slice(0, inputs.call.batch), slice(0, inputs.call.heads))
    rows = slice(span.begin, span.end)
    if labels.columns is not None:
        counts = torch.cat(list(_counts(inputs, span, labels)), dim=2)
        for name, value in labels.named(mass, counts, span.begin, span.end):
            gathered.add_extra(name, value, target, rows)
    for match in labels.matches:
        found, seen = _of_pairs(inputs, span, match, query, size)
        if span.seen is not None:
            found = found.masked_fill(~span.seen.any(-1), math.nan)
        for name, value in match.named(found, seen, span.begin, span.end):
            gathered.add_extra(name, value, target, rows)


def _counts(inputs: KernelInputs, span: Span, labels: GroupLabels) -> Iterator[Tensor]:
    """Number of visible keys of each column, ``(batch, head or 1, query, column)``, by blocks of the span's queries."""
    call, device = inputs.call, inputs.query.device
    if labels.columns is None:
        return
    columns = labels.columns[:, None, span.first : span.last]
    rows = max(1, MASK_ELEMENTS // (call.batch * call.heads * call.n_keys))
    for begin in range(span.begin, span.end, rows):
        end = min(begin + rows, span.end)
        seen = call.visibility.block(begin, end, span.first, span.last, call.n_queries, call.n_keys, device)
        yield seen.to(columns) @ columns


def _of_pairs(inputs: KernelInputs, span: Span, match: Match, query: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Mass on, and number of, visible matching keys: ``(batch, head, query)`` both, queries of the span."""
    batch, heads, rows = size.shape
    mass, count = torch.zeros(2, batch * rows, heads, device=size.device)
    for sequence, row, key in _pairs(match, span, max(1, PAIR_ELEMENTS // (heads * query.shape[-1]))):
        counted = match.allows(key, match.own[row + span.begin])
        if span.is_causal:
            counted = counted & (key <= row + span.begin)
        shown = counted[:, None].expand(-1, heads)
        if span.seen is not None:
            shown = shown & span.seen[sequence * (span.seen.shape[0] > 1), :, row, key - span.first]
        products = torch.linalg.vecdot(query[sequence, :, row], inputs.key[sequence, :, key])
        weight = (products - size[sequence, :, row]).masked_fill(~shown, -math.inf).exp()
        mass.index_add_(0, sequence * rows + row, weight)
        count.index_add_(0, sequence * rows + row, shown.to(count))
    # Products rounded otherwise than in the kernel may give a row more than 1, as in the weights near the query.
    mass, count = (sums.view(batch, rows, heads).transpose(1, 2) for sums in (mass.clamp_max_(1.0), count))
    return mass, count


def _pairs(match: Match, span: Span, limit: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Sequence, query (counted from the span's first) and key of all pairs of one label, about ``limit`` at a time."""
    query, key = match.query[:, span.begin : span.end], match.key[:, span.first : span.last]
    ordered, place = key.sort(dim=1, stable=True)
    low, high = (torch.searchsorted(ordered, query.contiguous(), right=end).flatten() for end in (False, True))
    count = high - low
    ends = count.cumsum(0)
    total = int(ends[-1])
    if not total:
        return
    limits = torch.arange(limit, total + limit, limit, device=ends.device).clamp_max(total)
    edges = torch.cat([limits.new_zeros(1), torch.searchsorted(ends, limits) + 1]).unique().tolist()
    for begin, end in pairwise(edges):
        pairs = torch.repeat_interleave(torch.arange(begin, end, device=ends.device), count[begin:end])
        starts = ends[pairs] - count[pairs] - (ends[begin] - count[begin])
        within = torch.arange(len(pairs), device=ends.device) - starts
        sequence, row = pairs // query.shape[1], pairs % query.shape[1]
        yield sequence, row, place[sequence, low[pairs] + within] + span.first
