"""Compute group masses for the ``fused`` engine: sum weights by kernels over group membership columns, and multiply
single query-key pairs for token matches.

Pairs of equal labels are found by sorting, so that no (query, key) array is built: time follows their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from heedful.attention.engines.gathered import Gathered
from heedful.attention.engines.groups import GroupLabels, Match
from heedful.attention.engines.spans import MASK_ELEMENTS, KernelInputs, Span

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
    """Compute and store the mass and the number of visible keys of each group, segment and token match, for the
    queries of a span.

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
