"""Find attention sinks: the first key or a later key that gets much weight from all queries."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.evaluation.evidence import ProbedCall
from heedful.evaluation.probe_registry import PROBES
from heedful.evaluation.running import positions_of

FEWEST_QUERIES = 8
"""Queries that must see a key, and a quarter of all, before it can be a sink."""


def key_sinks(sight: ProbedCall) -> dict[str, Tensor]:
    r"""Return the position of the key with the largest mean weight over the queries that see it, and the mean weight
    and position of the largest after the first key, ``(sequence, head)``.

    .. math:: \alpha_j = \mathrm{mean}_{i\,:\,j\ \text{visible}}\, A_{ij}

    over keys that at least 8 queries, and a quarter of all, see. Source: Gu et al. 2024, arXiv:2410.10781.

    Reading: above 0.3: an attention sink.
    Pitfall: a maximum over keys lies above each key's mean, by little where heads are diffuse; the margin is far away.

    Args:
        sight: The call.

    Returns:
        ``top_key`` (position of the largest, padding not counted), ``later_sink_mass`` and ``later_sink_key`` (largest
        and position among keys that are no row's first), ``(sequence, head)``; NaN where no such key is.
    """
    call, keys = sight.event.call, sight.moments.keys
    enough = (keys.seen_by >= FEWEST_QUERIES) & (4 * keys.seen_by >= call.n_queries)
    mean = (keys.received.double() / keys.seen_by.clamp_min(1)).masked_fill(~enough, -1.0).nan_to_num(-1.0)
    first = call.visibility.own_first_key(call.batch, call.n_queries, call.n_keys, mean.device)
    is_first = torch.zeros(call.batch, call.n_keys, dtype=torch.bool, device=mean.device).scatter(1, first, True)
    later, later_key = mean.masked_fill(is_first[:, None], -1.0).max(-1)
    top, top_key = mean.max(-1)
    batch = sight.batch.at(mean.device)
    if batch.attention_mask.shape == (call.batch, call.n_keys):  # positions count real tokens, wherever padding stands
        place = positions_of(batch.attention_mask)
        top_key, later_key = place.gather(1, top_key), place.gather(1, later_key)
    return {
        "top_key": top_key.double().masked_fill(top < 0, math.nan),
        "later_sink_mass": later.masked_fill(later < 0, math.nan),
        "later_sink_key": later_key.double().masked_fill(later < 0, math.nan),
    }


PROBES.add("key_sinks", key_sinks)
