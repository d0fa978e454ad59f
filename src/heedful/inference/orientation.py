"""Score how far a head's queries and keys vary in the same directions, compared with random orientations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from heedful.inference.multiplicity import holm
from heedful.inference.units import Array

DRAWS = 1999
"""Random orientations."""

ENOUGH = 10
"""Draws beyond a score from which on their number tells its p; in few dimensions the tail is lighter than a gamma's."""

TOGETHER = 16
"""Heads of one size that are turned together."""

AT_ONCE = 100
"""Rotations that are made together."""

LEAST_DIM = 4
"""Dimensions of a head below which orientations are too few to tell apart."""


@dataclass(frozen=True)
class Orientation:
    """Query-key alignment scores of heads, with p-values against random orientations.

    Attributes:
        score: ``D tr(AB) / (tr A tr B)``, ``(head,)``; 1 on average where orientation is random.
        p: That a random orientation gives as much, ``(head,)``; NaN where undefined.
        p_adjusted: The same by Holm over all heads.
    """

    score: Array
    p: Array
    p_adjusted: Array


def orientation(queries: list[Array], keys: list[Array], *, seed: int, draws: int = DRAWS) -> Orientation:
    r"""Score how far queries vary in the same directions as keys, with p-values, for each head.

    .. math:: T = \frac{D\, \operatorname{tr}(A B)}{\operatorname{tr} A \operatorname{tr} B}, \qquad
              T_r = \frac{D}{\operatorname{tr} A \operatorname{tr} B} \sum_{ij} a_i\, (U^r_{ij})^2\, b_j

    with the covariances A of queries and B of keys, their eigenvalues ``a`` and ``b``, and random rotations U. Query
    and key projections that were drawn independently with a distribution that no rotation changes (Gaussian weights of
    any variance) give T the distribution of :math:`T_r`, whatever enters the layer. Its tail is that of a gamma
    distribution with mean, variance and skewness of the draws, as T is a weighted sum of squares; the adjusted p is
    Holm's over all heads.

    Reading: above 1 queries vary where keys vary, so that content decides where they look; as the null keeps both
    spectra, neither large norms nor few directions raise it. Pitfall: it does not see attention that follows the text
    by means of other terms (biases); after a rotation of positions it is no longer valid.
    Source: weighted sums of squares, Hall 1983, doi:10.1111/j.2517-6161.1983.tb01244.x; measured sizes in
    docs/explanation/nulls.md.

    Args:
        queries: Covariance of each head's queries, ``(D, D)`` each; D may differ between heads.
        keys: The same of the keys that it reads.
        seed: Seed of the rotations.
        draws: Rotations.

    Returns:
        Scores and p; NaN where a covariance is 0 or not finite, D is below ``LEAST_DIM``, or queries are keys.
    """
    heads = len(queries)
    score, p = np.full(heads, np.nan), np.full(heads, np.nan)
    alike: dict[int, list[tuple[int, Array, Array]]] = {}
    for head, (a, b) in enumerate(zip(queries, keys, strict=True)):
        size, dim = float(np.trace(a) * np.trace(b)), len(a)
        if dim < LEAST_DIM or not np.isfinite(size) or not size > 0 or np.allclose(a, b, rtol=1e-4, atol=0):
            continue
        score[head] = dim * float((a * b.T).sum()) / size
        spectra = [np.clip(np.linalg.eigvalsh(one), 0.0, None) * (dim / size) ** 0.5 for one in (a, b)]
        alike.setdefault(dim, []).append((head, *spectra))
    for dim, each in alike.items():
        turned = squared_rotations(dim, draws, seed)
        for some in (each[start : start + TOGETHER] for start in range(0, len(each), TOGETHER)):
            left, right = (np.stack(side) for side in list(zip(*some, strict=True))[1:])
            drawn = np.einsum("rhj,hj->hr", left @ turned, right, optimize=False)
            for (head, *_), own in zip(some, drawn, strict=True):
                p[head] = _tail(score[head], own)
    return Orientation(score, p, np.asarray(holm(p)) if heads else p)


def _tail(score: float, drawn: Array) -> float:
    """Chance of a draw as large as a score: by rank where enough draws are, and by Pearson's type III beyond."""
    from scipy.stats import pearson3

    mean, spread = float(drawn.mean()), float(drawn.std())
    if not spread > 0:
        return 1.0
    skewness = max(float((((drawn - mean) / spread) ** 3).mean()), 0.0)
    tail = float(np.clip(pearson3.sf((score - mean) / spread, skewness), 1e-300, 1.0))
    reached = int((drawn >= score).sum())
    return max(tail, (1.0 + reached) / (1.0 + len(drawn))) if reached >= ENOUGH else tail


@lru_cache(maxsize=4)
def squared_rotations(dim: int, draws: int, seed: int) -> Array:
    """Return the squared entries of random rotation matrices, ``(draw, dim, dim)`` float64.

    Args:
        dim: Dimensions.
        draws: How many.
        seed: Seed.
    """
    random = np.random.default_rng((seed, dim))
    found = np.empty((draws, dim, dim))
    for start in range(0, draws, AT_ONCE):  # one stream of numbers, and little memory for the decompositions
        some = found[start : start + AT_ONCE]
        np.square(np.linalg.qr(random.standard_normal(some.shape))[0], out=some)
    return found
