r"""Assign the components of a factorisation to the dimensions of a rotary head.

Rotary positions turn pairs of dimensions, dimension ``i`` and ``i + dim / 2``, by angles that grow with distance: the
first pair fastest. A component on a fast pair no longer matches its partner a few tokens away, so the components that
matter most belong on the slowest pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heedful.errors import UsageError


def largest_fastest(dim: int) -> np.ndarray:
    """Return an order with components 1 and 2 on the fastest rotary pair; it reproduces an error in a published
    derivation.
    """
    component = np.arange(dim)
    return component // 2 + component % 2 * (dim // 2)


def largest_slowest(dim: int) -> np.ndarray:
    """Return an order with components 1 and 2 on the slowest rotary pair, where distance hardly rotates them."""
    component = np.arange(dim)
    return dim // 2 - 1 - component // 2 + component % 2 * (dim // 2)


ORDERS: dict[str, Callable[[int], np.ndarray]] = {
    function.__name__: function for function in (largest_fastest, largest_slowest)
}
"""Orders by name: ``dim``, even, to the dimension of each component, ``(dim,)``, largest singular value first."""


def arranged(order: str, matrix: np.ndarray, dim: int) -> np.ndarray:
    """Move columns to the dimensions of a rotary head; unused dimensions are 0.

    Args:
        order: A key of ``ORDERS``.
        matrix: ``(row, component)``, largest singular value first, at most ``dim`` of them.
        dim: Dimensions of the head, even.

    Returns:
        ``(row, dim)``.

    Raises:
        UsageError: The order is not known.
    """
    if order not in ORDERS:
        raise UsageError(f"order {order!r} is not known; one of: {', '.join(ORDERS)}")
    found = np.zeros((len(matrix), dim))
    found[:, ORDERS[order](dim)[: matrix.shape[1]]] = matrix
    return found


def rotated_vectors(vectors: np.ndarray, turn: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Rotate vectors of consecutive positions as a rotary head does.

    Args:
        vectors: ``(position, dim)``.
        turn: Cosines and sines, ``(position, dim)`` each, of at least as many positions.
    """
    cosine, sine = (part[: len(vectors)] for part in turn)
    first, second = np.split(vectors, 2, axis=-1)
    return vectors * cosine + np.concatenate([-second, first], axis=-1) * sine
