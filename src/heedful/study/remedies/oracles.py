"""Attention without any matrix: baselines, and logits read off the counts as the text goes by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heedful.derivation.affinity import log_probability
from heedful.study.remedies.text import Material


def equal(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
    """Logits of 0."""
    sequences, length = tokens.shape
    return np.zeros((sequences, length - 1, length))


def frequency(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
    """Log frequency of each key's token, one count added."""
    logs = np.log(material.first.column_sums + 1)[tokens]
    return np.repeat(logs[:, None, :], tokens.shape[1] - 1, axis=1)


def noise(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
    """Normal logits of deviation 1, which depend on the place of a piece among all and on nothing in it."""
    sequences, length = tokens.shape
    return np.random.default_rng(seed).standard_normal((sequences, length - 1, length))


def log_probability_of(n: int) -> Callable[[Material, np.ndarray, int], np.ndarray]:
    """Logits ``log P(key's token | the n tokens that end at the query)``; where those were never counted, of one token.

    Args:
        n: Tokens of the contexts.
    """

    def logits(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
        single, table = log_probability(material.first), material.tables[n, 0]
        longer = single if n == 1 else log_probability(table)
        found = []
        for piece in tokens:
            rows = table.rows_of(piece)[1:]
            known = longer.at(np.maximum(rows, 0), piece)
            found.append(np.where((rows >= 0)[:, None], known, single.at(piece[1:], piece)))
        return np.stack(found)

    return logits
