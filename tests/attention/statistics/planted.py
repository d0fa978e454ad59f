"""Row moments of weights that are written down: what closed forms are checked on."""

from __future__ import annotations

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense
from heedful.attention.engines.moments import RowMoments
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import Visibility, bidirectional, causal

LENGTHS = (16, 64, 128, 512, 1024)


def rows_of(weights: Tensor, visibility: Visibility | None = None, *, exact: bool = False) -> RowMoments:
    """Moments of given weights ``(query, key)``, planted as logits through the bias.

    Args:
        weights: Rows that sum to one over the visible keys; zeros are weights of e-80.
        visibility: Causal where None.
        exact: By the dense engine in float64 instead of by ``tiled`` in float32.
    """
    n_queries, n_keys = weights.shape
    query, key = torch.zeros(1, 1, n_queries, 1), torch.zeros(1, 1, n_keys, 1)
    if exact:
        query, key, weights = query.double(), key.double(), weights.double()
    bias = weights.clamp_min(1e-35).log()
    call = AttentionCall(query=query, key=key, bias=bias, visibility=causal() if visibility is None else visibility)
    return (dense(call) if exact else tiled(call)).rows


def uniform(length: int, *, exact: bool = False) -> RowMoments:
    """Equal weight on every key that a causal query sees."""
    return rows_of(torch.ones(length, length), exact=exact)


def previous_token(length: int) -> RowMoments:
    """All weight on the key before; the first query has only its own."""
    weights = torch.zeros(length, length)
    weights[torch.arange(1, length), torch.arange(length - 1)] = 1
    weights[0, 0] = 1
    return rows_of(weights)


def first_key(length: int) -> RowMoments:
    """All weight on key 0."""
    weights = torch.zeros(length, length)
    weights[:, 0] = 1
    return rows_of(weights)


def own_key(length: int) -> RowMoments:
    """All weight on the query's own position."""
    return rows_of(torch.eye(length))


def halves(length: int) -> RowMoments:
    """Every query of a bidirectional call: half its weight on key 0, half on key 1."""
    weights = torch.zeros(length, length)
    weights[:, :2] = 0.5
    return rows_of(weights, bidirectional())


def nothing_seen(length: int) -> RowMoments:
    """A call in which no query sees a key."""
    hidden = Visibility(queries=torch.zeros(1, length, dtype=torch.bool))
    return rows_of(torch.ones(length, length), hidden)
