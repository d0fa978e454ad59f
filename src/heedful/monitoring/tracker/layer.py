"""Sum the statistics of one attention call: those of its rows, and those of queries and keys with and without rotary
positions.

Measure the spread of logits over a query's visible keys; the larger the spread, the sharper attention is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.moments import Extras, Moments
from heedful.attention.engines.points import seen_at
from heedful.attention.engines.tiled import tiled
from heedful.attention.registry import STATISTICS
from heedful.interception.event import AttentionEvent
from heedful.monitoring.tracker.part import TRACKER_PARTS
from heedful.monitoring.vectors.sums import Sums, gathered, sequence_sums
from heedful.monitoring.vectors.vector_statistics import vector_sums
from heedful.monitoring.vectors.vectors import Sample, first_sequences, sampled

ATTENTION = (*STATISTICS, "entropy_share", "logit_sd", "strongest_mass")
"""Statistics of rows that are summed: those registered, entropy over its most, spread of the logits, and the weight
that the key which draws most gets of the queries that see it."""

BRIEF = ("row_entropy", "entropy_share", "sink_mass", "strongest_mass")
"""Those of a brief record."""

EXTREMES = {"max_logit": 1, "entropy_min": -1}
"""Extremes over all rows, by the sign under which they are maxima."""

FEWEST_QUERIES = 8
"""Queries that must see a key, and a quarter of all, before it counts as the one that draws most."""

_BRIEF_MOMENTS = Extras(only=frozenset({"received"}))


@dataclass(frozen=True)
class Layer:
    """What is fixed about a tracked attention module: index, path, numbers of heads, head names."""

    index: int
    path: str
    heads: int
    kv_heads: int
    irreps: tuple[str, ...] = ()


def layer_sums(
    event: AttentionEvent, before: tuple[Tensor, Tensor] | None, sample: Sample, turn: int, rows: int
) -> Sums:
    """Return one attention call's sums: statistics of queries, keys and attention rows, and of registered extensions.

    Args:
        event: The call as it was met.
        before: Query and key before the rotation, or None.
        sample: How much of the batch is measured.
        turn: How often was measured before.
        rows: Sequences whose rows are measured; 0 for none.

    Returns:
        Sums named ``query/after/...``, ``key/before/...``, ``attention/...`` and, for each registered part, its name.
    """
    call, rules = event.call, event.call.visibility
    stages = {"after": (call.query, call.key)} | ({} if before is None else {"before": before})
    parts = {}
    for stage, (query, key) in stages.items():
        parts[f"query/{stage}/"] = vector_sums(sampled(query, rules.queries, sample, turn))
        parts[f"key/{stage}/"] = vector_sums(sampled(key, rules.keys, sample, turn))
    if rows:
        parts["attention/"] = attention_sums(first_sequences(call, rows))
    parts |= {f"{name}/": part.sums(event, sample, turn) for name, part in TRACKER_PARTS.items()}
    return gathered(parts)


def attention_sums(call: AttentionCall) -> Sums:
    """Return the sums over sequences of each attention statistic; a sequence counts by its rows with at least 8 visible
    keys.

    Args:
        call: The attention call; all its rows are measured exactly.
    """
    moments = tiled(replace(call, value=None), None)  # no statistic here needs the output
    judged = moments.rows.visible >= MIN_VISIBLE
    means = {}
    for name, facts in STATISTICS.items():
        means[name] = torch.where(judged, facts.of(moments.rows), torch.nan).nanmean(-1)
    means["logit_sd"] = logit_spread(call)
    return _summed(means, moments, judged)


def brief_sums(call: AttentionCall) -> Sums:
    """Return what a brief record needs of one call: largest logit, entropy, and the weights on the first and the
    strongest key.

    Args:
        call: The attention call; all its rows are measured exactly.
    """
    moments = tiled(replace(call, value=None), _BRIEF_MOMENTS)
    judged = moments.rows.visible >= MIN_VISIBLE
    rows = {"row_entropy": moments.rows.entropy, "sink_mass": moments.rows.first_mass}
    means = {name: torch.where(judged, values, torch.nan).nanmean(-1) for name, values in rows.items()}
    return gathered({"attention/": _summed(means, moments, judged)})


def _summed(means: dict[str, Tensor], moments: Moments, judged: Tensor) -> Sums:
    rows = moments.rows
    share = rows.normalised_entropy / rows.visible.clamp_min(2).log()
    means["entropy_share"] = torch.where(judged, share, torch.nan).nanmean(-1)
    means["strongest_mass"] = strongest_mass(moments)
    added = {key: value for name, mean in means.items() for key, value in sequence_sums(name, mean).items()}
    least = rows.entropy.masked_fill(~judged, math.inf).amin((0, 2))
    return Sums(added, {"max_logit": largest_logit(moments), "entropy_min": -least.double()})


def largest_logit(moments: Moments) -> Tensor:
    r"""Return each head's largest logit over all visible (query, key) pairs, after scale, softcap and bias,
    ``(head,)``.

    .. math:: \max_{i,\, j\ \text{visible}} \ell_{ij} = \max_i \bigl(Z_i + \log \max_j A_{ij}\bigr)

    Reading: runs without query and key norms that diverge show it grow into the hundreds first; QK-clip acts at 100.
    Pitfall: logits are known up to a constant of each row, so a large one alone is no sharp head: read the entropy.
    Source: Kimi Team 2025, arXiv:2507.20534; Dehghani et al. 2023, arXiv:2302.05442.

    Args:
        moments: Those of a call.

    Returns:
        ``(head,)`` float64; -inf where no row sees a key, NaN where a logit is not finite.
    """
    rows = moments.rows
    peak = rows.logsumexp.double() + rows.max_weight.double().log()
    return peak.masked_fill(rows.visible == 0, -math.inf).amax((0, 2))


def strongest_mass(moments: Moments) -> Tensor:
    r"""Return the largest mean weight of any key, ``(batch, head)``; a key's mean is over the queries that see it.

    .. math:: \max_j \operatorname{mean}_{i\,:\,j\ \text{visible}} A_{ij}

    over keys that at least 8 queries, and a quarter of all, see.

    Reading: above .3 an attention sink, wherever it stands.
    Pitfall: a maximum over keys lies above each key's mean. Source: Gu et al. 2024, arXiv:2410.10781.

    Args:
        moments: Those of a call.

    Returns:
        ``(batch, head)`` float64; NaN where no key is seen by enough queries.
    """
    keys, queries = moments.keys, moments.rows.visible.shape[-1]
    enough = (keys.seen_by >= FEWEST_QUERIES) & (4 * keys.seen_by >= queries)
    mean = (keys.received.double() / keys.seen_by.clamp_min(1)).masked_fill(~enough, -1.0).nan_to_num(-1.0)
    top = mean.amax(-1)
    return top.masked_fill(top < 0, math.nan)


ROWS = 16
"""Rows of a sequence that are looked at."""


def logit_spread(call: AttentionCall, rows: int = ROWS) -> Tensor:
    r"""Return the standard deviation of logits over visible keys, averaged over sampled queries, ``(batch, head)``.

    .. math:: \sqrt{\tfrac1{n_i} \sum_{j \in V_i} (l_{ij} - \bar l_i)^2}

    Reading: 0 is uniform attention; a Gaussian spread s leaves ``log n - s^2 / 2`` nats of entropy while s is small.

    Args:
        call: The attention call.
        rows: Queries of a sequence that are looked at, from the last backwards.

    Returns:
        ``(batch, head)``; NaN where no row that was looked at sees 8 keys.
    """
    stride = max(1, call.n_queries // rows)
    chosen = torch.arange(call.n_queries - 1, -1, -stride, device=call.query.device)[:rows].flip(0)
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        logits = _logits(call, chosen)
        seen = seen_at(call, chosen)
        number = seen.sum(-1)
        mean = (logits * seen).sum(-1) / number
        variance = ((logits - mean[..., None]).square() * seen).sum(-1) / number
        judged = torch.where(number >= MIN_VISIBLE, variance.sqrt(), math.nan)
        return judged.expand(call.batch, call.heads, -1).nanmean(-1)


def _logits(call: AttentionCall, rows: Tensor) -> Tensor:
    """Logits of a few queries, ``(batch, head, row, key)``, in float32."""
    batch, groups = call.batch, call.heads // call.kv_heads
    query = call.query[:, :, rows].float() * call.scale
    flat = query.reshape(batch, call.kv_heads, groups * len(rows), -1)
    logits = (flat @ call.key.float().transpose(-1, -2)).view(batch, call.heads, len(rows), call.n_keys)
    if call.softcap is not None:
        logits = call.softcap * torch.tanh(logits / call.softcap)
    if call.bias is None:
        return logits
    return logits + (call.bias if call.bias.shape[2] == 1 else call.bias[:, :, rows]).float()
