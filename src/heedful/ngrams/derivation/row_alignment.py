"""Compare expected with actual attention, row by row.

Attention that counts predict: each key token is weighted by how often it follows the query's context.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heedful.ngrams.derivation.affinities import Affinity, probability
from heedful.ngrams.derivation.table import NgramTable

TIE = 1e-9
"""Relative difference under which two expected weights are the same: copies of one token."""


@dataclass(frozen=True)
class RowAlignment:
    """Agreement of each query's weights with the expected weights: KL, cosine, match.

    Attributes:
        divergence: ``KL(expected || actual)`` in nats, ``(..., row)``; NaN where nothing is expected.
        uniform_divergence: The same of uniform attention over the visible keys.
        cosine: Of the two rows of weights.
        match: 1 where the most attended key has the largest expected weight, or one equal to it; else 0.
        uniform_match: Share of visible keys that would match.
    """

    divergence: np.ndarray
    uniform_divergence: np.ndarray
    cosine: np.ndarray
    match: np.ndarray
    uniform_match: np.ndarray


def row_alignment(
    expected: np.ndarray, log_weights: np.ndarray, rows: np.ndarray, visible: np.ndarray | None = None
) -> RowAlignment:
    r"""Compute the agreement of a block of causal rows with expected weights.

    .. math:: \mathrm{KL}(E_i \| A_i) = \sum_k E_{ik} (\log E_{ik} - \log A_{ik})

    Reading: ``1 - KL / KL_uniform`` is the skill: 0 is no better than uniform, 1 exact, negative is worse.
    Pitfall: the first row has one key and always agrees: leave it out. Copies of a token tie exactly, so that the
    first of equal keys says nothing.

    Args:
        expected: ``(row, key)`` from ``expected_rows``; rows of NaN are undefined.
        log_weights: ``(..., row, key)`` natural logs of the attention weights, -inf behind the query.
        rows: ``(row,)`` positions of the queries: query i sees keys 0 to i.
        visible: ``(row, key)`` where queries see fewer: what is expected must be 0 elsewhere. None for all up to i.

    Returns:
        Numbers a row, ``(..., row)``; what is of uniform attention ``(row,)``. NaN where nothing is expected.
    """
    seen = np.arange(expected.shape[1])[None, :] <= rows[:, None] if visible is None else visible
    some = expected > 0
    logs = np.log(np.where(some, expected, 1.0))
    divergence = np.where(some, expected * (logs - np.where(some, log_weights, 0.0)), 0.0).sum(-1)
    uniform = (expected * logs).sum(-1, where=some) + np.log(seen.sum(-1))
    weights = np.exp(np.where(seen, log_weights, -np.inf))
    length = np.linalg.norm(np.nan_to_num(expected), axis=-1) * np.linalg.norm(weights, axis=-1)
    cosine = (np.nan_to_num(expected) * weights).sum(-1) / np.where(length > 0, length, 1.0)
    best = expected >= expected.max(-1, keepdims=True) * (1 - TIE)
    top = weights.argmax(-1)[..., None]
    chosen = np.take_along_axis(np.broadcast_to(best, weights.shape), top, axis=-1)[..., 0].astype(float)
    chance = (best & seen).sum(-1) / seen.sum(-1)
    undefined = np.isnan(expected).any(-1)
    return RowAlignment(
        *(np.where(undefined, np.nan, value) for value in (divergence, uniform, cosine, chosen, chance))
    )


def expected_rows(
    table: NgramTable,
    tokens: np.ndarray,
    rows: np.ndarray,
    likelihood: Affinity | None = None,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    r"""Return the expected attention weights of some queries of one document, ``(row, position)``.

    .. math:: E_{ik} = \frac{P(t_k \mid t_{i-n+1} \dots t_i)}{\sum_{j \le i} P(t_j \mid \dots)}, \qquad k \le i

    Args:
        table: Counts.
        tokens: ``(position,)`` token numbers of one document.
        rows: Queries asked for, ``(row,)``.
        likelihood: ``probability(table)``, where many blocks are asked for.
        visible: ``(row, position)`` where queries see fewer keys than all up to them: j runs over those alone.

    Returns:
        ``(row, position)`` float64, 0 behind the query; NaN in rows whose context was never counted or none of whose
        keys ever followed it.
    """
    likelihood = likelihood or probability(table)
    contexts = table.rows_of(tokens)[rows]
    found = likelihood.at(np.maximum(contexts, 0), tokens)
    found[np.arange(len(tokens))[None, :] > rows[:, None] if visible is None else ~visible] = 0.0
    total = found.sum(-1, keepdims=True)
    defined = (contexts >= 0)[:, None] & (total > 0)
    return np.where(defined, found / np.where(total > 0, total, 1.0), np.nan)
