"""Probe how queries differ: Jensen-Shannon divergence between attention rows over their common keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.attention.axes import LAGS, MIN_VISIBLE
from heedful.attention.engines.points import rows_at, seen_at
from heedful.evaluation.evidence import ProbedCall

QUERIES = 12
"""Query positions at which rows are compared, spread over the sequence."""


def jensen_shannon(left: Tensor, right: Tensor, common: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of two sets of rows, each renormalised over the common keys.

    Args:
        left: ``(..., key)`` weights, 0 where unseen.
        right: ``(..., key)`` weights of the rows to compare.
        common: Bool, broadcastable to ``(..., key)``: keys that both rows see.

    Returns:
        ``(...)`` in nats, between 0 and log 2; NaN where the rows share fewer than ``MIN_VISIBLE`` keys or either has
        no weight there.
    """
    a, b = _over(left, common), _over(right, common)
    middle = (a + b) / 2
    value = (torch.xlogy(a, a / middle.clamp_min(1e-38)) + torch.xlogy(b, b / middle.clamp_min(1e-38))).sum(-1) / 2
    return value.clamp_min(0).masked_fill(common.sum(-1) < MIN_VISIBLE, math.nan)


def _over(rows: Tensor, common: Tensor) -> Tensor:
    """Rows renormalised over some keys; NaN where they have no weight there."""
    kept = rows * common
    return kept / kept.sum(-1, keepdim=True)


def by_position(left: Tensor, right: Tensor, common: Tensor) -> Tensor:
    """Return the divergence between batch-mean rows: the part that query positions explain.

    Jensen-Shannon divergence is convex, so that it is at most the mean of the sequences' own divergences, and equal to
    it where the pattern is the same in every sequence. Source: Lin 1991, doi:10.1109/18.61115.

    Args:
        left: ``(sequence, ..., key)`` weights, 0 where unseen.
        right: The same of the rows to compare.
        common: Bool, broadcastable: keys that both rows see.

    Returns:
        ``(sequence, ...)`` in nats, over the keys that each sequence sees; NaN where there is but one sequence.
    """
    if len(left) < 2:
        return torch.full(left.shape[:-1], math.nan, device=left.device)
    a, b = (_over(rows, common).nanmean(0, keepdim=True).nan_to_num() for rows in (left, right))
    if common.shape[0] == 1 or common.stride(0) == 0:  # every sequence sees the same keys
        return jensen_shannon(a, b, common[:1]).expand(left.shape[:-1])
    return jensen_shannon(a.expand_as(left), b.expand_as(left), common)


def without_own_share(shared: Tensor, own: Tensor) -> Tensor:
    r"""Correct the position-explained divergence for each sequence's own contribution to the mean pattern.

    The mean of B patterns keeps 1/B of the divergence that content makes, to second order, so that a batch of two would
    show half of it as a matter of position. As with a sample variance, the excess is divided by 1 - 1/B:

    .. math:: \text{own} - \text{result} = (\text{own} - \text{shared}) \frac{B}{B - 1}

    Args:
        shared: ``(sequence, ...)`` divergence between the mean patterns.
        own: The same between the sequence's own rows; NaN where it has none.

    Returns:
        ``(sequence, ...)`` in nats; equal to ``own`` where all patterns are the same, and below 0 by chance.
    """
    count = (~own.isnan()).sum(0, keepdim=True)
    return shared - (own - shared) / (count - 1).clamp_min(1)


def query_variation(probed: ProbedCall) -> dict[str, Tensor]:
    """Return the Jensen-Shannon divergence between attention rows of different queries, ``(sequence, head)`` in nats.

    ``other_document``: the same position in the next sequence of the batch, which is of another document where the text
    has several: 0 for any pattern that depends on position alone. ``adjacent`` and ``distant``: the query 1 and 10
    positions before, in the same sequence; ``adjacent_by_position`` and ``distant_by_position`` the same between the
    mean patterns of the batch, corrected for its size.
    """
    call = probed.event.call
    nan = torch.full((call.batch, call.heads), math.nan)
    names = ("other_document", "adjacent", "distant", "adjacent_by_position", "distant_by_position")
    first, last = probed.span()
    if last - first < MIN_VISIBLE or call.n_queries != call.n_keys:
        return dict.fromkeys(names, nan)
    start = min(MIN_VISIBLE + LAGS[1], last - first)
    index = torch.linspace(start, last - first, QUERIES, device=call.query.device).round().long().unique() + first
    wanted = torch.cat([index, index - LAGS[0], (index - LAGS[1]).clamp_min(first)])
    rows, seen = rows_at(call, wanted).nan_to_num(), seen_at(call, wanted)
    here, adjacent, distant = rows.split(len(index), dim=2)
    sees, sees_adjacent, sees_distant = seen.split(len(index), dim=2)
    found = {"other_document": nan}
    pairs = {"adjacent": (adjacent, sees & sees_adjacent), "distant": (distant, sees & sees_distant)}
    for name, (before, common) in pairs.items():
        own = jensen_shannon(here, before, common)
        found[name] = own.nanmean(-1)
        found[f"{name}_by_position"] = without_own_share(by_position(here, before, common), own).nanmean(-1)
    if call.batch > 1:
        found["other_document"] = jensen_shannon(here, here.roll(1, dims=0), sees & sees.roll(1, dims=0)).nanmean(-1)
    return found
