"""Probes of whether queries differ: Jensen-Shannon divergence of rows over the keys that both see."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.core.axes import LAGS, MIN_VISIBLE
from heedful.engine import rows_at, seen_at
from heedful.study.evidence import Sight

QUERIES = 12
"""Query positions at which rows are compared, spread over the sequence."""


def jensen_shannon(left: Tensor, right: Tensor, common: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two sets of rows over the keys that both see, each renormalised over them.

    Args:
        left: ``(..., key)`` weights, 0 where unseen.
        right: ``(..., key)`` weights of the rows to compare.
        common: Bool, broadcastable to ``(..., key)``: keys that both rows see.

    Returns:
        ``(...)`` in nats, between 0 and log 2; NaN where the rows share fewer than ``MIN_VISIBLE`` keys or either has
        no weight there.
    """
    a, b = left * common, right * common
    a = a / a.sum(-1, keepdim=True)
    b = b / b.sum(-1, keepdim=True)
    middle = (a + b) / 2
    value = (torch.xlogy(a, a / middle.clamp_min(1e-38)) + torch.xlogy(b, b / middle.clamp_min(1e-38))).sum(-1) / 2
    return value.clamp_min(0).masked_fill(common.sum(-1) < MIN_VISIBLE, math.nan)


def query_variation(sight: Sight) -> dict[str, Tensor]:
    """How rows differ, ``(sequence, head)`` in nats.

    ``other_document``: the same position in the next sequence of the batch, which is of another document where the text
    has several: 0 for any pattern that depends on position alone. ``adjacent`` and ``distant``: the query 1 and 10
    positions before, in the same sequence.
    """
    call = sight.event.call
    nan = torch.full((call.batch, call.heads), math.nan)
    names = ("other_document", "adjacent", "distant")
    if call.n_queries <= MIN_VISIBLE or call.n_queries != call.n_keys:
        return dict.fromkeys(names, nan)
    start = min(MIN_VISIBLE + LAGS[1], call.n_queries - 1)
    index = torch.linspace(start, call.n_queries - 1, QUERIES, device=call.query.device).round().long().unique()
    wanted = torch.cat([index, index - LAGS[0], (index - LAGS[1]).clamp_min(0)])
    rows, seen = rows_at(call, wanted).nan_to_num(), seen_at(call, wanted)
    here, adjacent, distant = rows.split(len(index), dim=2)
    sees, sees_adjacent, sees_distant = seen.expand(call.batch, -1, -1, -1).split(len(index), dim=2)
    found = {
        "adjacent": jensen_shannon(here, adjacent, sees & sees_adjacent).nanmean(-1),
        "distant": jensen_shannon(here, distant, sees & sees_distant).nanmean(-1),
        "other_document": nan,
    }
    if call.batch > 1:
        found["other_document"] = jensen_shannon(here, here.roll(1, dims=0), sees & sees.roll(1, dims=0)).nanmean(-1)
    return found
