"""Measure how a call's weights and outputs change when its keys change, block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.attention.axes import MIN_VISIBLE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import block_at, logits_of
from heedful.errors import CallError

ROWS = 64
"""Query rows held at once against all keys of the batch."""

SMALL = 0.5
"""Largest change of a logit about its mean up to which the divergence is summed without cancellation."""


@dataclass(frozen=True)
class KeyChange:
    """Divergence of the weights and relative error of the outputs of each head after keys are replaced, ``(batch,
    head)`` each.

    Attributes:
        divergence: Mean over queries of KL(weights || weights under the other keys), in nats; NaN where no query sees
            8 keys.
        error: Norm of the change of a head's output over the norm of its output, over the same queries; NaN without
            values.
    """

    divergence: Tensor
    error: Tensor


def attended(call: AttentionCall) -> Tensor:
    """Compute the output of a call in blocks of queries.

    Args:
        call: The attention call, with values.

    Returns:
        ``(batch, head, query, value_dim)`` in the dtype of the values; 0 at rows that see nothing.

    Raises:
        CallError: The call has no values.
    """
    if call.value is None:
        raise CallError("value: expected values, got None")
    parts = []
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        for begin in range(0, call.n_queries, ROWS):
            weights = block_at(call, begin, min(begin + ROWS, call.n_queries)).nan_to_num(0.0)
            parts.append(_weighed(weights, call, call.value).to(call.value.dtype))
    return torch.cat(parts, dim=2)


def key_change(call: AttentionCall, key: Tensor) -> KeyChange:
    r"""Measure how a call's weights and outputs change when its keys are replaced by ``key``.

    With :math:`\delta_j` the change of a logit, less its mean :math:`\sum_j A_j \delta_j`,

    .. math:: \mathrm{KL}(A \Vert A') = \log \sum_j A_j e^{\delta_j}
              = \log\Bigl(1 + \sum_j A_j (e^{\delta_j} - 1 - \delta_j)\Bigr)

    whose terms are never negative, so that divergences far below the rounding of a logarithm keep their digits. A
    learned sink takes part as a key whose logit does not change.

    Reading: 0 where the pattern stays; half the variance of the logits' change under the weights while it is small.
    Pitfall: a mean over queries, to which short rows add little; rows that see fewer than 8 keys are left out.

    Args:
        call: The attention call as it is.
        key: ``(batch, kv_head, key, dim)`` other keys.

    Raises:
        CallError: The keys are of another shape.
    """
    if key.shape != call.key.shape:
        raise CallError(f"key: expected the shape of the call's own, {tuple(call.key.shape)}, got {tuple(key.shape)}")
    other = replace(call, key=key)
    wide = torch.float32 if key.device.type == "mps" else torch.float64
    sums = torch.zeros(4, call.batch, call.heads, dtype=wide, device=key.device)
    with torch.no_grad(), torch.autocast(key.device.type, enabled=False):
        for begin in range(0, call.n_queries, ROWS):
            sums += _block(call, other, begin, min(begin + ROWS, call.n_queries))
    divergence, judged, moved, size = sums
    error = (moved / size).sqrt() if call.value is not None else torch.full_like(size, math.nan)
    return KeyChange(divergence / judged, error)


def _block(call: AttentionCall, other: AttentionCall, begin: int, end: int) -> Tensor:
    """Sums over the judged rows of a block: divergence, their number, squared change of output, squared output."""
    seen = call.visibility.block(begin, end, 0, call.n_keys, call.n_queries, call.n_keys, call.query.device)
    judged = (seen.sum(-1) >= MIN_VISIBLE).expand(call.batch, call.heads, -1)
    weights = block_at(call, begin, end).nan_to_num(0.0)
    total = weights.sum(-1, keepdim=True)
    change = _logit_change(call, other, begin, end).masked_fill(~seen, 0.0)
    if call.sink is None:  # what is missing from 1 is rounding
        rows = _divergence(weights / total.clamp_min(0.5), change, torch.zeros_like(total[..., 0]))
    else:
        rows = _divergence(weights, change, (1.0 - total[..., 0]).clamp_min(0.0))
    found = [torch.where(judged, rows, 0.0).sum(-1), judged.sum(-1).to(rows.dtype)]
    if call.value is None:
        return torch.stack([*found, *(torch.zeros_like(found[0]),) * 2])
    after = block_at(other, begin, end).nan_to_num(0.0)
    for pattern in (after - weights, weights):
        energy = _weighed(pattern, call, call.value).square().sum(-1)
        found.append(torch.where(judged, energy, 0.0).sum(-1))
    return torch.stack(found)


def _logit_change(call: AttentionCall, other: AttentionCall, begin: int, end: int) -> Tensor:
    if call.softcap is not None:
        return logits_of(other, begin, end) - logits_of(call, begin, end)
    wide = torch.float64 if call.query.dtype == torch.float64 else torch.float32
    difference = other.key.to(wide) - call.key.to(wide)
    return logits_of(replace(call, key=difference, bias=None), begin, end)


def _divergence(weights: Tensor, change: Tensor, rest: Tensor) -> Tensor:
    """Divergence of each row, ``(batch, head, query)``, in nats; ``rest`` is what a sink holds, whose logit stays."""
    mean = (weights * change).sum(-1, keepdim=True)
    about = change - mean
    near = about.clamp(-SMALL, SMALL)
    mean = mean[..., 0]
    still = (-mean).clamp(-SMALL, SMALL)
    held = (weights * (near.expm1() - near)).sum(-1) + rest * (still.expm1() - still)
    series = held.clamp_min(0.0).log1p()
    far = (about.abs() * (weights > 0)).amax(-1) > SMALL
    far |= (rest > 0) & (mean.abs() > SMALL)
    if not bool(far.any()):
        return series
    whole = torch.logaddexp(torch.logsumexp(weights.log() + about, -1), rest.log() - mean)
    return torch.where(far, whole.clamp_min(0.0), series)


def _weighed(pattern: Tensor, call: AttentionCall, value: Tensor) -> Tensor:
    """Values summed under a pattern ``(batch, head, query, key)``."""
    batch, heads, rows, keys = pattern.shape
    grouped = pattern.reshape(batch, call.kv_heads, heads // call.kv_heads * rows, keys) @ value.to(pattern.dtype)
    return grouped.view(batch, heads, rows, -1)
