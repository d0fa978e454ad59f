"""Sums of one attention call in a training step: attention rows, and queries and keys before and after positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.tiled import tiled
from heedful.attention.registry import STATISTICS
from heedful.interception.event import AttentionEvent
from heedful.monitoring.tracker.part import TRACKER_PARTS
from heedful.monitoring.vectors.logit_spread import logit_spread
from heedful.monitoring.vectors.sample import Sample, first_sequences, sampled
from heedful.monitoring.vectors.sequence_mean import sequence_sums
from heedful.monitoring.vectors.sums import Sums, gathered
from heedful.monitoring.vectors.vector_statistics import vector_sums

ATTENTION = (*STATISTICS, "entropy_share", "logit_sd")
"""Statistics of rows that are summed: those registered, entropy over its most, spread of the logits."""


@dataclass(frozen=True)
class Layer:
    """Fixed facts of a tracked attention module: index, path, numbers of heads, head names."""

    index: int
    path: str
    heads: int
    kv_heads: int
    irreps: tuple[str, ...] = ()


def layer_sums(event: AttentionEvent, before: tuple[Tensor, Tensor] | None, sample: Sample, turn: int) -> Sums:
    """Return all sums of one attention call.

    Args:
        event: The call as it was met.
        before: Query and key before the rotation, or None.
        sample: How much of the batch is measured.
        turn: How often was measured before.

    Returns:
        Sums named ``query/after/...``, ``key/before/...``, ``attention/...`` and, for each registered part, its name.
    """
    call, rules = event.call, event.call.visibility
    stages = {"after": (call.query, call.key)} | ({} if before is None else {"before": before})
    parts = {}
    for stage, (query, key) in stages.items():
        parts[f"query/{stage}/"] = vector_sums(sampled(query, rules.queries, sample, turn))
        parts[f"key/{stage}/"] = vector_sums(sampled(key, rules.keys, sample, turn))
    parts["attention/"] = attention_sums(_cut(call, sample))
    parts |= {f"{name}/": part.sums(event, sample, turn) for name, part in TRACKER_PARTS.items()}
    return gathered(parts)


def _cut(call: AttentionCall, sample: Sample) -> AttentionCall:
    if sample.logits is None:
        return first_sequences(call, sample.sequences)
    fitting = max(1, sample.logits // (call.heads * call.n_queries * call.n_keys))
    return first_sequences(call, min(sample.sequences, fitting))


def attention_sums(call: AttentionCall) -> Sums:
    """Return, for each statistic, its mean over rows with at least 8 visible keys, summed over sequences.

    Args:
        call: The attention call; all its rows are measured exactly.
    """
    rows = tiled(call, None).rows
    judged = rows.visible >= MIN_VISIBLE
    means = {}
    for name, facts in STATISTICS.items():
        means[name] = torch.where(judged, facts.of(rows), torch.nan).nanmean(-1)
    share = rows.normalised_entropy / rows.visible.clamp_min(2).log()
    means["entropy_share"] = torch.where(judged, share, torch.nan).nanmean(-1)
    means["logit_sd"] = logit_spread(call)
    return Sums({key: value for name, mean in means.items() for key, value in sequence_sums(name, mean).items()}, {})
