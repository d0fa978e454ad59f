"""Attention that counts predict: each key token is weighted by how often it follows the query's context."""

from __future__ import annotations

import numpy as np

from heedful.ngrams.derivation.affinities import Affinity, probability
from heedful.ngrams.derivation.table import NgramTable


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
