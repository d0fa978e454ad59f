"""Truncated SVD of affinity matrices of any size, with a proof that no larger singular value was missed.

Counts of a large vocabulary fall into parts that share no token: pairs that stood once, by themselves. Each part of a
normalised matrix has a singular value of exactly 1, so that there may be hundreds of them, and an iteration that starts
from one vector finds some, misses others and takes smaller ones in their place. So a sparse matrix is taken apart first
and each part by itself; what is found is taken away, and the largest that is left is looked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, lobpcg, svds

from heedful.ngrams.derivation.affinities import Affinity

SMALL = 1_500
"""Up to the square of this many entries a dense decomposition is quicker, and exact."""

RESTARTS = 25
"""Of the iteration from one vector; what has not converged by then has values too near to one another for it."""

EXACT = 1e-10
"""Share of a product under which what is left of it is rounding."""

ROUNDS = 60
"""Of the iteration of a whole block, which near values do not stop; what it leaves is measured afterwards."""

CONVERGED = 1e-9
"""Residual, over the square of the largest value, at which a block is done."""

ROUGHLY = 1e-3
"""Of the largest value, where its size alone is asked for."""

SPAN = 40
"""Vectors that the search for the largest value holds."""

SAME = 1e-6
"""Share by which a value left over must exceed the smallest found to count as missed."""

ALIKE = 9
"""Decimals, of the largest value, to which values are compared before the larger part goes first."""


@dataclass(frozen=True)
class Triplets:
    """Singular values with left and right vectors, largest first.

    Attributes:
        left: ``(row, component)``.
        values: ``(component,)``.
        right: ``(column, component)``.
        parts: Parts of the matrix that share neither row nor column, those without entries left out; None where that
            was not looked at.
    """

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    parts: int | None = None


def decomposed(matrix: Affinity, wanted: int, seed: int) -> Triplets:
    """Return the largest singular triplets: all for a small matrix, ``wanted`` for a large one.

    Args:
        matrix: Any affinity.
        wanted: How many, at least 1.
        seed: Of what iterations start from.
    """
    if _is_small(matrix, wanted):
        return _dense(matrix)
    if not matrix.left.shape[1]:
        return _by_parts(matrix.stored, wanted, seed)
    return (_within(matrix, wanted, seed) if _is_within(matrix) else None) or _iterated(matrix, wanted, seed)


def _is_small(matrix: Affinity, wanted: int) -> bool:
    return matrix.shape[0] * matrix.shape[1] <= SMALL**2 or min(matrix.shape) <= wanted


def _dense(matrix: Affinity) -> Triplets:
    rows, columns = (np.arange(size) for size in matrix.shape)
    left, values, right = np.linalg.svd(matrix.at(rows, columns), full_matrices=False)
    return Triplets(left, values, right.T)


def _by_parts(stored: sparse.csr_array, wanted: int, seed: int) -> Triplets:
    """Each connected part of rows and columns by itself; of equal values, that of the larger part first."""
    rows = stored.shape[0]
    graph = sparse.block_array([[None, stored], [stored.T, None]], format="csr")
    count, label = connected_components(graph, directed=False)
    entries = sparse.coo_array(stored)
    squares = np.bincount(label[entries.row], entries.data**2, minlength=count)
    order = np.argsort(-squares, kind="stable")[: int((squares > 0).sum())]
    members = [_grouped(label[:rows], count), _grouped(label[rows:], count)]
    found: list[tuple[np.ndarray, np.ndarray, Triplets]] = []
    values = np.zeros(0)
    for part in order:
        if len(values) == wanted and squares[part] <= values[-1] ** 2:
            break  # no value of a part is larger than the root of its squares
        row, column = (side(part) for side in members)
        inner = Affinity.of(stored[row][:, column])
        one = _dense(inner) if _is_small(inner, wanted) else _iterated(inner, wanted, seed)
        found.append((row, column, one))
        values = np.sort(np.concatenate([values, one.values]))[::-1][:wanted]
    return _joined(stored.shape, found, wanted, len(order))


def _grouped(label: np.ndarray, count: int) -> Callable[[int], np.ndarray]:
    """A function from a label to the places that have it."""
    order = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[order], np.arange(count + 1))
    return lambda part: order[ends[part] : ends[part + 1]]


def _joined(
    shape: tuple[int, int], found: list[tuple[np.ndarray, np.ndarray, Triplets]], wanted: int, parts: int
) -> Triplets:
    """The largest triplets of all parts as those of the whole."""
    values = np.concatenate([one.values for _, _, one in found]) if found else np.zeros(0)
    place = np.concatenate([np.full(len(one.values), at) for at, (_, _, one) in enumerate(found)] or [np.zeros(0, int)])
    within = np.concatenate([np.arange(len(one.values)) for _, _, one in found] or [np.zeros(0, int)])
    top = values.max(initial=0.0) or 1.0
    order = np.lexsort((within, place, -np.round(values / top, ALIKE)))[:wanted]
    left, right = np.zeros((shape[0], len(order))), np.zeros((shape[1], len(order)))
    for component, chosen in enumerate(order):
        row, column, one = found[place[chosen]]
        left[row, component], right[column, component] = one.left[:, within[chosen]], one.right[:, within[chosen]]
    # Values that are equal but for rounding stand in the order of their parts.
    return Triplets(left, np.minimum.accumulate(values[order]), right, parts)


def _is_within(matrix: Affinity) -> bool:
    """Whether the sparse part keeps the low-rank part's directions among themselves: singular vectors of both."""
    left, right = np.linalg.qr(matrix.left)[0], np.linalg.qr(matrix.right)[0]
    there, back = matrix.stored @ right, matrix.stored.T @ left
    lost = np.linalg.norm(there - left @ (left.T @ there)), np.linalg.norm(back - right @ (right.T @ back))
    return bool(max(lost) <= EXACT * np.linalg.norm(there))


def _within(matrix: Affinity, wanted: int, seed: int) -> Triplets | None:
    """Triplets of the sparse part, turned by the low-rank part alone; None where that turns out not to be enough.

    At right angles to the low-rank part's directions both matrices are one, so that of a few triplets more than are
    wanted, as many as are wanted lie there.
    """
    inner = _by_parts(matrix.stored, wanted + matrix.left.shape[1], seed)
    if len(inner.values) < wanted:
        return None
    operator = _operator(matrix)
    left, values, turn = np.linalg.svd(operator.matmat(inner.right), full_matrices=False)
    found = Triplets(left[:, :wanted], values[:wanted], inner.right @ turn[:wanted].T, inner.parts)
    error = np.linalg.norm(operator.rmatmat(found.left) - found.right * found.values, axis=0).max()
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    done = error <= SAME * values[0] and _largest_left(matrix, found, start) <= found.values[-1] * (1 + SAME)
    return found if done else None


def _iterated(matrix: Affinity, wanted: int, seed: int) -> Triplets:
    """By Lanczos from one vector, and where that does not end or missed some, by a block of as many as are wanted."""
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    try:
        found = _sorted(*svds(_operator(matrix), k=wanted, v0=start, solver="arpack", maxiter=RESTARTS))
        if _largest_left(matrix, found, start) <= found.values[-1] * (1 + SAME):
            return found
    except ArpackNoConvergence:
        pass
    return _block(matrix, wanted, seed)


def _largest_left(matrix: Affinity, found: Triplets, start: np.ndarray) -> float:
    """Largest singular value of what the triplets leave: a bound from below."""
    rest = Affinity(
        matrix.stored,
        np.concatenate([matrix.left, -found.left * found.values], axis=1),
        np.concatenate([matrix.right, found.right], axis=1),
    )
    return _largest(_operator(rest), start)


def _block(matrix: Affinity, wanted: int, seed: int) -> Triplets:
    """Equal values stop no iteration of a block (Knyazev 2001)."""
    operator = _operator(matrix)
    wide = matrix.shape[0] < matrix.shape[1]
    inner, outer = (operator.rmatmat, operator.matmat) if wide else (operator.matmat, operator.rmatmat)
    size = min(matrix.shape)

    def square(block: np.ndarray) -> np.ndarray:
        return outer(inner(block))

    start = np.random.default_rng(seed).standard_normal((size, wanted))
    largest = _largest(operator, start[:, 0])
    normal = LinearOperator((size, size), matvec=square, matmat=square, dtype=np.float64)
    with warnings.catch_warnings():
        # It warns of what has not converged; the residual is measured and reported.
        warnings.simplefilter("ignore", UserWarning)
        _, vectors = lobpcg(
            normal, start, tol=CONVERGED * largest**2 if np.isfinite(largest) else None, maxiter=ROUNDS, largest=True
        )
    near = np.linalg.qr(vectors)[0]
    far, values, turn = np.linalg.svd(inner(near), full_matrices=False)
    near = near @ turn.T
    return Triplets(near, values, far) if wide else Triplets(far, values, near)


def _largest(operator: LinearOperator, start: np.ndarray) -> float:
    """The largest singular value, from below; infinite where it does not settle."""
    try:
        values = svds(
            operator, k=1, v0=start, ncv=SPAN, tol=ROUGHLY, maxiter=RESTARTS, solver="arpack",
            return_singular_vectors=False,
        )  # fmt: skip
    except ArpackNoConvergence:
        return np.inf
    return float(values[0])


def _operator(matrix: Affinity) -> LinearOperator:
    return matrix.operator(np.ones(matrix.shape[0]), np.ones(matrix.shape[1]))


def _sorted(left: np.ndarray, values: np.ndarray, right: np.ndarray) -> Triplets:
    order = np.argsort(-values)
    return Triplets(left[:, order], values[order], right.T[:, order])
