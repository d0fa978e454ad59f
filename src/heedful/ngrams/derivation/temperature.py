"""Find the temperature at which an affinity agrees best with the attention that counts predict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

RANGE = (-12.0, 12.0)
"""Natural logs between which the factor is sought, on logits whose largest distance within a row is 1."""


def best_temperature(expected: Sequence[np.ndarray], logits: Sequence[np.ndarray]) -> float:
    r"""Return the factor ``b`` that minimises ``KL(expected || softmax(b logits))``, which is convex in b.

    Args:
        expected: Blocks ``(row, key)`` of expected weights; rows of NaN are left out.
        logits: Blocks of the same shapes, -inf where a key is not seen.

    Returns:
        The factor; 1 where the logits of every row are alike, and at an end of the range where they carry nothing
        but noise, or the order alone.
    """
    pairs = [(e[ok], z[ok]) for e, z in zip(expected, logits, strict=True) if (ok := ~np.isnan(e).any(-1)).any()]
    size = max((_widest(given) for _, given in pairs), default=0.0)
    if not size > 0:
        return 1.0

    def divergence(log_factor: float) -> float:
        total = 0.0
        for wanted, given in pairs:
            log_weights = log_softmax(np.exp(log_factor) * (given / size), axis=-1)
            total -= float((wanted * np.where(wanted > 0, log_weights, 0.0)).sum())
        return total

    return float(np.exp(minimize_scalar(divergence, bounds=RANGE, method="bounded", options={"xatol": 1e-6}).x)) / size


def _widest(logits: np.ndarray) -> float:
    """Largest distance between two logits of one row."""
    seen = np.isfinite(logits)
    high, low = np.where(seen, logits, -np.inf).max(-1), np.where(seen, logits, np.inf).min(-1)
    return float((high - low).max(initial=0.0))
