"""Downsample the attention matrix of a call to a grid of query and key bins, with the sum and the mean weight of each
bin.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import block_at
from heedful.errors import CallError

BINS = 256
"""Bins of each axis: as many as a picture shows."""

BLOCK_ELEMENTS = 2**20
"""Weights held at once."""


@dataclass(frozen=True)
class BinnedMap:
    """Attention weights of every head, summed over a grid of query and key bins.

    Bin ``b`` of an axis holds positions ``edges[b]`` to ``edges[b + 1] - 1``; the bins of an axis differ by at most one
    position, and there are no more bins than positions.

    Attributes:
        mass: ``(batch, head, query_bin, key_bin)`` sum of the weights in the bin; rows that see nothing add 0.
        visible: ``(batch, head, query_bin, key_bin)`` int64 number of visible (query, key) pairs in the bin.
        query_edges: ``(query_bin + 1,)`` int64.
        key_edges: ``(key_bin + 1,)`` int64.
    """

    mass: Tensor
    visible: Tensor
    query_edges: Tensor
    key_edges: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean weight of the visible pairs in each bin, ``(batch, head, query_bin, key_bin)``; NaN if there are
        none.
        """
        return self.mass / self.visible


def bin_edges(length: int, bins: int) -> Tensor:
    """Return the edges of at most ``bins`` nearly equal bins: ``(bin + 1,)`` int64 from 0 to ``length``."""
    count = min(bins, length)
    return torch.arange(count + 1) * length // count


def binned_map(call: AttentionCall, bins: int = BINS) -> BinnedMap:
    r"""Compute the sum and the mean of attention weights in each cell of a grid of query and key bins, in O(block x
    keys) memory.

    .. math:: M_{rc} = \sum_{i \in r} \sum_{j \in c} A_{ij}

    Reading: a row of bins sums to the number of its queries that see anything (less, where a sink is learned).
    Pitfall: mass grows with the size of a bin and with the diagonal's share of it; compare bins by ``mean``.

    Args:
        call: The attention call, of any length.
        bins: Most bins of each axis.

    Returns:
        The map, in float32 or better, on the device of the query.

    Raises:
        CallError: ``bins`` is less than 1.
    """
    if bins < 1:
        raise CallError(f"bins: expected at least 1, got {bins}")
    device = call.query.device
    query_edges, key_edges = bin_edges(call.n_queries, bins), bin_edges(call.n_keys, bins)
    shape = (call.batch, call.heads, len(query_edges) - 1, len(key_edges) - 1)
    dtype = torch.float64 if call.query.dtype == torch.float64 else torch.float32
    mass = torch.zeros(shape, dtype=dtype, device=device)
    visible = torch.zeros(shape, dtype=torch.int64, device=device)
    row_bin = torch.bucketize(torch.arange(call.n_queries), query_edges, right=True).sub_(1).to(device)
    key_bin = torch.bucketize(torch.arange(call.n_keys), key_edges, right=True).sub_(1).to(device)
    rows = max(1, BLOCK_ELEMENTS // (call.batch * call.heads * call.n_keys))
    with torch.no_grad():
        for begin in range(0, call.n_queries, rows):
            end = min(begin + rows, call.n_queries)
            seen = call.visibility.block(begin, end, 0, call.n_keys, call.n_queries, call.n_keys, device)
            weights = block_at(call, begin, end).masked_fill_(~seen, 0.0)
            mass.index_add_(2, row_bin[begin:end], _by_key(weights, key_bin, shape[3]))
            counts = _by_key(seen.to(torch.int64), key_bin, shape[3])
            visible.index_add_(2, row_bin[begin:end], counts.expand(*shape[:2], -1, -1))
    return BinnedMap(mass, visible, query_edges, key_edges)


def _by_key(values: Tensor, key_bin: Tensor, count: int) -> Tensor:
    """Sums of the last axis by bin."""
    sums = torch.zeros(*values.shape[:3], count, dtype=values.dtype, device=values.device)
    return sums.index_add_(3, key_bin, values)
