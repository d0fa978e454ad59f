"""Find attention sinks: the first key or a later key that gets much weight from all queries.

Measure the largest attention logit of each head.

Measure the attention weight at fixed offsets from the query position, forwards and backwards.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.engines.points import logits_at
from heedful.evaluation.evidence import ProbedCall
from heedful.evaluation.registry import PROBES
from heedful.evaluation.running import positions_of

FEWEST_QUERIES = 8
"""Queries that must see a key, and a quarter of all, before it can be a sink."""


def key_sinks(sight: ProbedCall) -> dict[str, Tensor]:
    r"""Return the most attended key of each head with its mean weight, over all keys and without the first,
    ``(sequence, head)`` each.

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


def max_logit(sight: ProbedCall) -> dict[str, Tensor]:
    r"""Return the largest logit of each head over all visible pairs, after scale, softcap and bias, ``(sequence,
    head)``.

    .. math:: \max_{i,\, j\ \text{visible}} \ell_{ij} = \max_i \bigl(Z_i + \log \max_j A_{ij}\bigr)

    Reading: training that diverges shows logits in the hundreds; clipping rules act on this number.
    Pitfall: logits are known up to a constant of each row; comparing heads by them compares their kernels, not what
    they attend to. Source: Kimi Team 2025, arXiv:2507.20534 (QK-clip); Zhai et al. 2023, arXiv:2303.06296.

    Args:
        sight: The call.

    Returns:
        ``max_logit`` ``(sequence, head)``; NaN where no row sees a key.
    """
    rows = sight.moments.rows
    peak = (rows.logsumexp.double() + rows.max_weight.double().log()).nan_to_num(-math.inf).amax(-1)
    return {"max_logit": peak.masked_fill(peak.isneginf(), math.nan)}


PROBES.add("max_logit", max_logit)


REACH = 8
"""Offsets from -8 to 8 are told apart."""

POINTS = 2**16
"""Logits of each head that are computed together."""

OFFSETS = tuple(range(-REACH, REACH + 1))


def offset_mass(sight: ProbedCall) -> dict[str, Tensor]:
    r"""Return the mean weight on the key at each fixed offset from the query, ``(sequence, head, offset)``.

    .. math:: \text{mass}_d = \mathrm{mean}_i\, A_{i,\,i+d}, \qquad d = -8 \ldots 8

    over the rows that see at least 8 keys and this one. Only these logits are computed, 17 a row.

    Reading: above 0.4 at one offset: a head that looks there. Compare with the uniform share ``1 / n_i``.
    Pitfall: offsets count tokens, not words; a causal head has no positive ones.

    Args:
        sight: The call.

    Returns:
        ``offset_mass`` in the order of ``OFFSETS``; NaN where no row sees that key, and everywhere in cross-attention.
    """
    call, rows = sight.event.call, sight.moments.rows
    found = torch.full((call.batch, call.heads, len(OFFSETS)), math.nan, dtype=torch.double, device=call.query.device)
    if call.offset is None:
        return {"offset_mass": found}
    sequence = torch.arange(call.batch, device=found.device).repeat_interleave(call.n_queries)
    query = torch.arange(call.n_queries, device=found.device).repeat(call.batch)
    judged = (rows.visible >= MIN_VISIBLE).flatten(2)
    wanted: list[tuple[int, Tensor, Tensor]] = []
    for column, offset in enumerate(OFFSETS):
        key = query + call.offset + offset
        inside = (key >= 0) & (key < call.n_keys)
        at = key.clamp(0, call.n_keys - 1)
        inside &= call.visibility.at(sequence, query, at, call.n_queries, call.n_keys)
        if bool(inside.any()):
            wanted.append((column, at, inside))
    together = max(1, POINTS // len(query))
    for some in (wanted[start : start + together] for start in range(0, len(wanted), together)):
        count = len(some)
        keys = torch.cat([at for _, at, _ in some])
        logits = logits_at(call, sequence.repeat(count), query.repeat(count), keys)
        logits = logits.view(call.heads, count, call.batch, -1)
        for place, (column, _, inside) in enumerate(some):
            weight = (logits[:, place].transpose(0, 1).double() - rows.logsumexp.double()).exp()
            counted = judged & inside.view(call.batch, 1, -1)
            found[..., column] = weight.masked_fill(~counted, math.nan).nanmean(-1)
    return {"offset_mass": found}


PROBES.add("offset_mass", offset_mass)
