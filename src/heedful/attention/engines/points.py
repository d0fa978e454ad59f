"""Compute single logits and whole rows of a call without the full ``(query, key)`` matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.errors import CallError

CELLS_A_POINT = 64
"""Logits of a whole call that cost about as much, in one matrix product, as one that is gathered for itself."""

MOST_CELLS = 2**25
"""Logits, over heads, that one product may hold."""


@dataclass
class _Shared:
    """The logits of one call, computed once for all that ask for some of them."""

    call: AttentionCall
    whole: Tensor | None = None


_shared: ContextVar[_Shared | None] = ContextVar("shared_logits", default=None)


@contextmanager
def sharing_logits(call: AttentionCall) -> Iterator[None]:
    """Return a context in which all logits of a small call are computed at most once, in one matrix product.

    Args:
        call: The attention call; of any other, and of one of more than ``MOST_CELLS`` logits, nothing is kept.
    """
    small = call.batch * call.heads * call.n_queries * call.n_keys <= MOST_CELLS
    token = _shared.set(_Shared(call) if small else None)
    try:
        yield
    finally:
        _shared.reset(token)


def logits_at(call: AttentionCall, sequence: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Return the unmasked logits of given (sequence, query, key) triples, ``(head, point)``.

    Args:
        call: The attention call.
        sequence: ``(point,)`` int64.
        query: ``(point,)`` int64.
        key: ``(point,)`` int64.

    Returns:
        ``(head, point)`` in float32 or better, after scale, softcap and bias; visibility is not applied.

    Raises:
        CallError: The three index tensors differ in length.
    """
    if not sequence.shape == query.shape == key.shape:
        raise CallError(
            f"points: expected three index tensors of one length, got {tuple(sequence.shape)}, {tuple(query.shape)}, "
            f"{tuple(key.shape)}"
        )
    shared = _shared_logits(call)
    if shared is not None:
        place = (sequence * call.heads * call.n_queries + query) * call.n_keys + key
        heads = torch.arange(call.heads, device=place.device)[:, None] * (call.n_queries * call.n_keys)
        return shared.take(heads + place)
    cells = call.batch * call.n_queries * call.n_keys
    if cells <= CELLS_A_POINT * len(query) and cells * call.heads <= MOST_CELLS:
        whole = logits_of(call, 0, call.n_queries).permute(1, 0, 2, 3).reshape(call.heads, cells)
        return whole.index_select(1, (sequence * call.n_queries + query) * call.n_keys + key)
    dtype = torch.float64 if call.query.dtype == torch.float64 else torch.float32
    kv_head = torch.arange(call.heads, device=call.query.device) // (call.heads // call.kv_heads)
    left = call.query[sequence, :, query].to(dtype)
    right = call.key[sequence, :, key].to(dtype)[:, kv_head]
    with torch.autocast(left.device.type, enabled=False):
        logits = torch.linalg.vecdot(left, right).T * call.scale
    if call.softcap is not None:
        logits = call.softcap * torch.tanh(logits / call.softcap)
    if call.bias is not None:
        full = call.bias.expand(call.batch, call.heads, call.n_queries, call.n_keys)
        logits = logits + full[sequence, :, query, key].T.to(dtype)
    return logits


def rows_at(call: AttentionCall, queries: Tensor) -> Tensor:
    """Return the attention weights of a few queries over all keys, ``(batch, head, row, key)``.

    Args:
        call: The attention call.
        queries: ``(row,)`` int64, the same for every sequence.

    Returns:
        ``(batch, head, row, key)`` in float32 or better; 0 where unseen, NaN in rows that see nothing.
    """
    return _weights(call, queries, seen_at(call, queries))


def normalisers_at(call: AttentionCall, queries: Tensor, rows: int = 64) -> Tensor:
    """Return the log-sum-exp of a few queries' logits, ``(batch, head, row)``, computed ``rows`` queries at a time.

    Args:
        call: The attention call.
        queries: ``(row,)`` int64, the same for every sequence.
        rows: Rows whose logits are held at once.

    Returns:
        ``(batch, head, row)`` in float32 or better, with the learned sink where there is one; NaN in rows that see
        nothing.
    """
    found = []
    for some in queries.split(rows):
        logits, seen = _logits(call, some), seen_at(call, some)
        normaliser = torch.logsumexp(logits.masked_fill(~seen, -math.inf), dim=-1)
        if call.sink is not None:
            normaliser = torch.logaddexp(normaliser, call.sink.to(logits.dtype)[None, :, None])
        found.append(normaliser.masked_fill(~seen.any(-1), math.nan))
    return torch.cat(found, dim=-1)


def seen_at(call: AttentionCall, queries: Tensor) -> Tensor:
    """Return whether a few queries see each key, bool, broadcastable to ``(batch, head, row, key)``.

    Returns:
        Bool, broadcastable to ``(batch, head, row, key)``.
    """
    device = call.query.device
    rows = [
        call.visibility.block(i, i + 1, 0, call.n_keys, call.n_queries, call.n_keys, device) for i in queries.tolist()
    ]
    return torch.cat(rows, dim=2)


def block_at(call: AttentionCall, begin: int, end: int) -> Tensor:
    """Return the weights of queries ``[begin, end)`` over all keys, ``(batch, head, query, key)``.

    Returns:
        ``(batch, head, end - begin, key)`` in float32 or better; 0 where unseen, NaN in rows that see nothing.
    """
    seen = call.visibility.block(begin, end, 0, call.n_keys, call.n_queries, call.n_keys, call.query.device)
    return _weights(call, torch.arange(begin, end, device=call.query.device), seen)


def logits_of(call: AttentionCall, begin: int, end: int) -> Tensor:
    """Return unmasked logits of queries ``[begin, end)``, after scale, softcap and bias, ``(batch, head, query, key)``.

    Returns:
        ``(batch, head, end - begin, key)`` in float32 or better.
    """
    return _logits(call, torch.arange(begin, end, device=call.query.device))


def _shared_logits(call: AttentionCall) -> Tensor | None:
    """All logits of the call that is shared, ``(batch, head, query, key)``; None of another."""
    shared = _shared.get()
    if shared is None or shared.call is not call:
        return None
    if shared.whole is None:
        shared.whole = _computed(call, torch.arange(call.n_queries, device=call.query.device))
    return shared.whole


def _logits(call: AttentionCall, queries: Tensor) -> Tensor:
    """Logits of some queries, ``(batch, head, row, key)``; not to be written to."""
    shared = _shared_logits(call)
    if shared is None:
        return _computed(call, queries)
    begin, end = int(queries[0]), int(queries[-1]) + 1
    if end - begin == len(queries) and bool((queries[1:] > queries[:-1]).all()):
        return shared[:, :, begin:end]
    return shared[:, :, queries]


def _computed(call: AttentionCall, queries: Tensor) -> Tensor:
    dtype = torch.float64 if call.query.dtype == torch.float64 else torch.float32
    groups = call.heads // call.kv_heads
    whole = len(queries) == call.n_queries and bool((queries[1:] > queries[:-1]).all())
    query = (call.query if whole else call.query[:, :, queries]).to(dtype) * call.scale
    batch, rows = call.batch, queries.numel()
    flat = query.reshape(batch, call.kv_heads, groups * rows, -1)
    with torch.autocast(query.device.type, enabled=False):
        logits = (flat @ call.key.to(dtype).transpose(-1, -2)).view(batch, call.heads, rows, call.n_keys)
    if call.softcap is not None:
        logits = call.softcap * torch.tanh(logits / call.softcap)
    if call.bias is not None:
        bias = call.bias if whole or call.bias.shape[2] == 1 else call.bias[:, :, queries]
        logits = logits + bias.to(dtype)
    return logits


def _weights(call: AttentionCall, queries: Tensor, seen: Tensor) -> Tensor:
    logits = _logits(call, queries).masked_fill(~seen, -math.inf)
    normaliser = torch.logsumexp(logits, dim=-1, keepdim=True)
    if call.sink is not None:
        normaliser = torch.logaddexp(normaliser, call.sink.to(logits.dtype)[None, :, None, None])
    return torch.exp(logits - normaliser).masked_fill(~seen.any(-1, keepdim=True), math.nan)
