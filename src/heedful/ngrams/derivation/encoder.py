r"""Compute projections from factors: a matrix W with ``x_t W ~ factor_t`` for each token vector x_t.

With W = pinv(X) F the product is exact wherever the rows of X are independent; with W = X^T F only where they are
orthonormal. What X is must be what the attention is fed: embeddings, normalised embeddings, or embeddings with
positions added. A vocabulary larger than the width cannot be exact: least squares then choose whose errors are small.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heedful.errors import InputRejected, UsageError

EPSILON = 1e-5
"""Of the layer norm, as torch's default."""


def layer_normalised(rows: np.ndarray) -> np.ndarray:
    """Normalise each row to mean 0 and standard deviation 1, as a layer norm without gain does."""
    centred = rows - rows.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + EPSILON)


SMALLEST = 1e-6
"""Singular values under this share of the largest are 0: a model in float32 is fed nothing there but rounding."""

TALL = 16
"""Rows a column from which on least squares go by way of an orthonormal basis."""

Reader = Callable[[np.ndarray], np.ndarray]
"""Factor ``(vocabulary, rank)`` to projection ``(width, rank)``."""


def transpose(fed: np.ndarray, positions: np.ndarray | None, frequency: np.ndarray | None) -> Reader:
    """Return a function that maps factors F to the projection ``X^T F``, where X holds the token vectors as rows."""
    return lambda factor: fed.T @ factor


def pseudo_inverse(fed: np.ndarray, positions: np.ndarray | None, frequency: np.ndarray | None) -> Reader:
    """Return a function that maps factors F to the least-squares projection ``pinv(X) F``, exact if the token vectors
    X are independent.
    """
    return _least_squares(fed)


def _least_squares(rows: np.ndarray) -> Reader:
    """``pinv(X) F``; of many rows by way of X = Q R, which holds half as much and has the same singular values."""
    if len(rows) < TALL * rows.shape[1]:
        inverse = np.linalg.pinv(rows, rcond=SMALLEST)
        return lambda factor: inverse @ factor
    basis, inner = np.linalg.qr(rows)
    small = np.linalg.pinv(inner, rcond=SMALLEST)
    return lambda factor: small @ (basis.T @ factor)


def frequency_pseudo_inverse(fed: np.ndarray, positions: np.ndarray | None, frequency: np.ndarray | None) -> Reader:
    """Return a function from factors to their least-squares projection; tokens count by their frequency."""
    if frequency is None:
        raise UsageError("encoder 'frequency_pseudo_inverse' wants how often each token occurs")
    root = np.sqrt(frequency / frequency.sum())[:, None]
    solve = _least_squares(fed * root)
    return lambda factor: solve(factor * root)


def joint_pseudo_inverse(fed: np.ndarray, positions: np.ndarray | None, frequency: np.ndarray | None) -> Reader:
    """Return a function from factors to a projection that added position vectors do not change: ``pinv([X;
    positions])``.
    """
    if positions is None:
        raise UsageError("encoder 'joint_pseudo_inverse' wants the position vectors that are added")
    if len(fed) + np.linalg.matrix_rank(positions) > fed.shape[1]:
        raise UsageError(
            f"encoder 'joint_pseudo_inverse' wants a width of at least {len(fed)} tokens and "
            f"{np.linalg.matrix_rank(positions)} directions of positions; came {fed.shape[1]}"
        )
    inverse = np.linalg.pinv(np.concatenate([fed, positions]), rcond=SMALLEST)[:, : len(fed)]
    return lambda factor: inverse @ factor


ENCODERS = {
    function.__name__: function
    for function in (transpose, pseudo_inverse, frequency_pseudo_inverse, joint_pseudo_inverse)
}
"""Encoders by name."""


def reader(
    name: str, fed: np.ndarray, positions: np.ndarray | None = None, frequency: np.ndarray | None = None
) -> Reader:
    """Return a function from factors to projections by the named encoder; it computes once what all factors share.

    Args:
        name: A key of ``ENCODERS``.
        fed: ``(vocabulary, width)``: what the attention is fed for each token.
        positions: ``(position, width)`` vectors that are added to what it is fed.
        frequency: ``(vocabulary,)``: how often each token occurs, all positive.

    Raises:
        UsageError: The name is not known, or the encoder cannot exist for this width.
        InputRejected: What is fed is not finite.
    """
    if name not in ENCODERS:
        raise UsageError(f"encoder {name!r} is not known; one of: {', '.join(ENCODERS)}")
    broken = np.flatnonzero(~np.isfinite(fed).all(axis=1))
    if len(broken):
        raise InputRejected(
            "embedding",
            f"{len(broken)} of its rows are not finite, the first is {broken[0]}",
            "derive it from whole counts",
        )
    return ENCODERS[name](fed, positions, frequency)


def encoded(name: str, fed: np.ndarray, factor: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
    """Return the projection for one factor matrix, ``(width, rank)``; use ``reader`` for several.

    Args:
        name: A key of ``ENCODERS``.
        fed: ``(vocabulary, width)``: what the attention is fed for each token.
        factor: ``(vocabulary, rank)``: what the projection of each token should be.
        positions: ``(position, width)`` vectors that are added to what it is fed.
    """
    return reader(name, fed, positions)(factor)


def unread(fed: np.ndarray, projection: np.ndarray, factor: np.ndarray, frequency: np.ndarray) -> float:
    """Return how much of a factor a projection does not give back: the relative squared error, weighted by token
    frequency.

    Args:
        fed: ``(vocabulary, width)``.
        projection: ``(width, rank)``.
        factor: ``(vocabulary, rank)``.
        frequency: ``(vocabulary,)``.
    """
    lost, whole = (((fed @ projection - factor) ** 2).sum(-1), (factor**2).sum(-1))
    return float((frequency * lost).sum() / (frequency * whole).sum())
