"""Compute a call's output under another attention pattern, block by block; used for ablation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from heedful.attention.axes import LOCAL_DISTANCE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import block_at
from heedful.errors import UsageError

ROWS = 64
"""Query rows held at once against all keys of the batch."""


def _uniform(call: AttentionCall, begin: int, end: int, seen: Tensor) -> Tensor:
    return seen.to(_dtype(call))


def _local(call: AttentionCall, begin: int, end: int, seen: Tensor) -> Tensor:
    if call.offset is None:
        raise UsageError("pattern 'local': queries and keys of this call share no positions (cross-attention)")
    query = torch.arange(begin, end, device=seen.device)[:, None] + call.offset
    near = (query - torch.arange(call.n_keys, device=seen.device)[None, :]).abs() <= LOCAL_DISTANCE
    return (seen & near).to(_dtype(call))


def _mean(call: AttentionCall, begin: int, end: int, seen: Tensor) -> Tensor:
    weights = block_at(call, begin, end).nan_to_num()
    return (weights.sum(0, keepdim=True) - weights) * seen


def _shuffled(call: AttentionCall, begin: int, end: int, seen: Tensor) -> Tensor:
    return block_at(call, begin, end).nan_to_num().roll(1, dims=0) * seen


PATTERNS: dict[str, str] = {
    "uniform": "equal weight on every visible key",
    "local": f"equal weight on visible keys at most {LOCAL_DISTANCE} positions away",
    "mean": "the mean weights of the other sequences of the batch, at the same positions",
    "shuffled": "the weights of another sequence of the batch",
    "zero": "no output at all",
}
"""Patterns by name, with what each puts in place of the learned weights."""

_WEIGHTS: dict[str, Callable[[AttentionCall, int, int, Tensor], Tensor]] = {
    "uniform": _uniform,
    "local": _local,
    "mean": _mean,
    "shuffled": _shuffled,
}


def pattern_output(call: AttentionCall, pattern: str) -> Tensor:
    """Return a call's output under a named pattern instead of the learned one, ``(batch, head, query, value_dim)``.

    Weights are those of the pattern over the keys that the query really sees, normalised to one. Rows that see nothing,
    or whose pattern gives no weight to any visible key, give 0.

    Args:
        call: The attention call, with values.
        pattern: A name of ``PATTERNS``.

    Returns:
        ``(batch, head, query, value_dim)`` in the dtype of the values.

    Raises:
        UsageError: The pattern is unknown, the call has no values, or the batch holds one sequence and the pattern
            needs others.
    """
    if pattern not in PATTERNS:
        raise UsageError(f"pattern: expected one of {', '.join(PATTERNS)}; got {pattern!r}")
    if call.value is None:
        raise UsageError("pattern: the call has no values")
    if pattern in ("mean", "shuffled") and call.batch < 2:
        raise UsageError(f"pattern {pattern!r}: expected a batch of at least 2 sequences, got 1")
    if pattern == "zero":
        shape = (call.batch, call.heads, call.n_queries, call.value.shape[-1])
        return torch.zeros(shape, dtype=call.value.dtype, device=call.value.device)
    return weighted_output(call, partial(_WEIGHTS[pattern], call))


def weighted_output(call: AttentionCall, weights_of: Callable[[int, int, Tensor], Tensor]) -> Tensor:
    """Return a call's output under given weights, ``(batch, head, query, value_dim)``, computed block by block.

    Args:
        call: The attention call, with values.
        weights_of: Of the first query of a block, its end, and the keys that its queries see (bool), to weights that
            broadcast to ``(batch, head, query, key)``, 0 where unseen; they are normalised here.

    Returns:
        ``(batch, head, query, value_dim)`` in the dtype of the values; 0 where no visible key has weight.

    Raises:
        UsageError: The call has no values.
    """
    if call.value is None:
        raise UsageError("pattern: the call has no values")
    shape = (call.batch, call.heads, call.n_queries, call.value.shape[-1])
    output = torch.zeros(shape, dtype=call.value.dtype, device=call.value.device)
    groups = call.heads // call.kv_heads
    with torch.no_grad(), torch.autocast(output.device.type, enabled=False):
        value = call.value.to(_dtype(call))
        for begin in range(0, call.n_queries, ROWS):
            end = min(begin + ROWS, call.n_queries)
            seen = call.visibility.block(begin, end, 0, call.n_keys, call.n_queries, call.n_keys, value.device)
            weights = weights_of(begin, end, seen).to(value.dtype)
            weights = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
            if weights.shape[:2] == (1, 1):  # of all sequences and heads alike
                shared = (weights[0, 0] @ value).repeat_interleave(groups, dim=1)
                output[:, :, begin:end] = shared.to(output.dtype)
                continue
            weights = weights.expand(call.batch, call.heads, end - begin, call.n_keys)
            grouped = weights.reshape(call.batch, call.kv_heads, groups * (end - begin), call.n_keys) @ value
            output[:, :, begin:end] = grouped.view(call.batch, call.heads, end - begin, -1).to(output.dtype)
    return output


def _dtype(call: AttentionCall) -> torch.dtype:
    return torch.float64 if call.query.dtype == torch.float64 else torch.float32
