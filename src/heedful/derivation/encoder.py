r"""From factors to projections: a matrix W with ``x_t W ~ factor_t`` for the vector x that stands for token t.

With W = pinv(X) F the product is exact wherever the rows of X are independent; with W = X^T F only where they are
orthonormal. What X is must be what the attention is fed: embeddings, normalised embeddings, or embeddings with
positions added.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heedful.core.errors import UsageError

EPSILON = 1e-5
"""Of the layer norm, as torch's default."""


def layer_normalised(rows: np.ndarray) -> np.ndarray:
    """Rows less their mean over their standard deviation, as a layer norm without gain feeds them on."""
    centred = rows - rows.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + EPSILON)


def transpose(fed: np.ndarray, positions: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray]:
    """``X^T F``."""
    return lambda factor: fed.T @ factor


def pseudo_inverse(fed: np.ndarray, positions: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray]:
    """``pinv(X) F``: the least-squares answer, exact where tokens are independent."""
    inverse = np.linalg.pinv(fed)
    return lambda factor: inverse @ factor


def joint_pseudo_inverse(fed: np.ndarray, positions: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray]:
    """``pinv([X; positions])`` with a factor of 0 for each position: blind to the positions that are added."""
    if positions is None:
        raise UsageError("encoder 'joint_pseudo_inverse' wants the position vectors that are added")
    if len(fed) + np.linalg.matrix_rank(positions) > fed.shape[1]:
        raise UsageError(
            f"encoder 'joint_pseudo_inverse' wants a width of at least {len(fed)} tokens and "
            f"{np.linalg.matrix_rank(positions)} directions of positions; came {fed.shape[1]}"
        )
    inverse = np.linalg.pinv(np.concatenate([fed, positions]))[:, : len(fed)]
    return lambda factor: inverse @ factor


ENCODERS = {function.__name__: function for function in (transpose, pseudo_inverse, joint_pseudo_inverse)}
"""Encoders by name."""


def encoded(name: str, fed: np.ndarray, factor: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
    """The projection of one side, ``(width, rank)``.

    Args:
        name: A key of ``ENCODERS``.
        fed: ``(vocabulary, width)``: what the attention is fed for each token.
        factor: ``(vocabulary, rank)``: what the projection of each token should be.
        positions: ``(position, width)`` vectors that are added to what it is fed.

    Raises:
        UsageError: The name is not known, or the encoder cannot exist for this width.
    """
    if name not in ENCODERS:
        raise UsageError(f"encoder {name!r} is not known; one of: {', '.join(ENCODERS)}")
    return ENCODERS[name](fed, positions)(factor)
