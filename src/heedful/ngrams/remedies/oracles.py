"""Attention without matrices: baselines, and logits taken directly from counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heedful.ngrams.derivation.oracle import smoothed_oracle_log_weights
from heedful.ngrams.remedies.text import Material


def equal(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
    """Return logits of 0, which give equal weights."""
    sequences, length = tokens.shape
    return np.zeros((sequences, length - 1, length))


def frequency(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
    """Return the log frequency of each key's token, with add-one smoothing, as logits."""
    logs = np.log(material.first.column_sums + 1)[tokens]
    return np.repeat(logs[:, None, :], tokens.shape[1] - 1, axis=1)


def noise(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
    """Return standard normal logits that depend on the excerpt's index, not its content."""
    sequences, length = tokens.shape
    return np.random.default_rng(seed).standard_normal((sequences, length - 1, length))


def counted(n: int) -> Callable[[Material, np.ndarray, int], np.ndarray]:
    """Return a function from tokens to the log of the weights that counts of n-token contexts predict, interpolated
    with those of shorter contexts.

    Args:
        n: Tokens of the contexts.
    """

    def logits(material: Material, tokens: np.ndarray, seed: int) -> np.ndarray:
        tables = [material.tables[length, 0] for length in range(n, 0, -1)]
        rows = np.arange(1, tokens.shape[1])
        return np.stack([smoothed_oracle_log_weights(tables, piece, rows) for piece in tokens])

    return logits
