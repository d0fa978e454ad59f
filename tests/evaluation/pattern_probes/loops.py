"""Independent loops over dense weights, in float64: what the probes of patterns must give."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall


def weights_by_loop(call: AttentionCall) -> list[list[list[dict[int, float]]]]:
    """Sequence, head, query to the weight of each visible key, by the definition."""
    seen = call.visibility.block(0, call.n_queries, 0, call.n_keys, call.n_queries, call.n_keys, call.query.device)
    seen = seen.expand(call.batch, call.heads, -1, -1)
    group = call.heads // call.kv_heads
    found = []
    for b in range(call.batch):
        heads = []
        for h in range(call.heads):
            rows = []
            for i in range(call.n_queries):
                logits = {}
                for j in range(call.n_keys):
                    if seen[b, h, i, j]:
                        logits[j] = logit(call, b, h, i, j, group)
                top = max(logits.values(), default=0.0)
                total = sum(math.exp(x - top) for x in logits.values())
                if call.sink is not None:
                    total += math.exp(float(call.sink[h]) - top)
                rows.append({j: math.exp(x - top) / total for j, x in logits.items()})
            heads.append(rows)
        found.append(heads)
    return found


def logit(call: AttentionCall, b: int, h: int, i: int, j: int, group: int) -> float:
    query, key = call.query[b, h, i].tolist(), call.key[b, h // group, j].tolist()
    value = call.scale * sum(x * y for x, y in zip(query, key, strict=True))
    if call.softcap is not None:
        value = call.softcap * math.tanh(value / call.softcap)
    if call.bias is not None:
        value += float(call.bias.expand(call.batch, call.heads, call.n_queries, call.n_keys)[b, h, i, j])
    return value


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def norms_by_loop(call: AttentionCall, weights: Tensor | None) -> list[list[list[float]]]:
    """Sequence, head, key to the norm of value times output projection, component by component."""
    group = call.heads // call.kv_heads
    assert call.value is not None
    found = []
    for b in range(call.batch):
        heads = []
        for h in range(call.heads):
            keys = []
            for j in range(call.n_keys):
                value = call.value[b, h // group, j].tolist()
                if weights is not None:
                    columns = weights[h].T.tolist()
                    value = [sum(v * w for v, w in zip(value, column, strict=True)) for column in columns]
                keys.append(math.sqrt(sum(v * v for v in value)))
            heads.append(keys)
        found.append(heads)
    return found


def cases() -> dict[str, AttentionCall]:
    """Small calls: causal, windowed, bidirectional, grouped, padded, capped with a bias, and with a learned sink."""
    from tests.evaluation.material import call_of

    from heedful.attention.visibility import Visibility, bidirectional, causal

    padded = torch.ones(2, 20, dtype=torch.bool)
    padded[1, :6] = False
    generator = torch.Generator().manual_seed(5)
    return {
        "causal": call_of(1, length=20),
        "window": call_of(2, length=20, visibility=causal(window=9)),
        "bidirectional": call_of(3, length=20, visibility=bidirectional()),
        "grouped": call_of(4, heads=4, kv_heads=2, length=20, gain=3.0),
        "padded": call_of(5, length=20, visibility=Visibility(is_causal=True, keys=padded, queries=padded)),
        "capped": call_of(6, length=20, softcap=2.0, bias=torch.randn(1, 3, 20, 20, generator=generator)),
        "sink": call_of(7, length=20, sink=torch.tensor([0.5, -1.0, 2.0])),
    }
