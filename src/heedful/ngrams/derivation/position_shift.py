r"""Subtract from an affinity matrix the scores that position vectors will add, before factorisation.

.. math:: M - E G_k E^\top, \qquad G_k = \frac1{T - k} \sum_i p_{i+k} p_i^\top

A published correction for positions that are added to tokens. It is here to be measured, and it loses: the affinity was
counted without positions, so there is nothing in it to take away, and what is taken is several times as large as what
was there. Where positions disturb scores is in the projections; ``joint_pseudo_inverse`` makes those blind to them.
"""

from __future__ import annotations

import numpy as np

from heedful.errors import UsageError
from heedful.ngrams.derivation.affinities import Affinity


def position_shift(positions: np.ndarray, distance: int) -> np.ndarray:
    """Return the mean outer product of position vectors ``distance`` apart, ``(width, width)``.

    Args:
        positions: ``(position, width)``.
        distance: Tokens between the two, at least 0.

    Raises:
        UsageError: There are not that many positions.
    """
    if not 0 <= distance < len(positions):
        raise UsageError(f"a shift of {distance} tokens wants more positions than that; there are {len(positions)}")
    return positions[distance:].T @ positions[: len(positions) - distance] / (len(positions) - distance)


def without_position_shift(
    matrix: Affinity, contexts: np.ndarray, tokens: np.ndarray, positions: np.ndarray, distance: int
) -> Affinity:
    """Return the affinity minus the scores from positions ``distance`` apart, as sparse plus low-rank.

    Args:
        matrix: Contexts by tokens.
        contexts: ``(context, width)``: the embedding of each context.
        tokens: ``(vocabulary, width)``: that of each token.
        positions: ``(position, width)``.
        distance: Tokens between a context's end and what it speaks of.
    """
    taken = -(contexts @ position_shift(positions, distance))
    return Affinity(
        matrix.stored,
        np.concatenate([matrix.left, taken], axis=1),
        np.concatenate([matrix.right, tokens], axis=1),
    )
