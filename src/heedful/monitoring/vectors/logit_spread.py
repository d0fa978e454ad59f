"""Measure the spread of logits over a query's visible keys; the larger the spread, the sharper attention is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import seen_at

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
