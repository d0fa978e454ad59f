"""Exchange partners between given pairs so that every new pair is allowed; this gives the null distribution of a
statistic of the pairs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from heedful.inference.units import Array

Index = NDArray[np.int64]


def permuted_partners(
    left: Index, right: Index, allowed: Callable[[Index, Index], NDArray[np.bool_]], *, permutations: int, seed: int
) -> Index:
    """Return right partners, exchanged at random between the pairs so that every new pair is allowed, ``(permutation,
    pair)``.

    From the given matching a chain of random exchanges of two partners, each refused where a new pair would not be
    allowed, runs to a common state, and from there one chain to each permutation. Exchanges are symmetric, so given
    and permuted matchings are exchangeable if the partners are: a rank among them is an exact p-value however short
    the chains are, which decides the power alone. Source: Besag and Clifford 1989, doi:10.1093/biomet/76.4.633.

    Args:
        left: ``(pair,)`` what keeps its place, say queries.
        right: ``(pair,)`` their partners, say keys.
        allowed: From indices of pairs ``(n,)`` and partners ``(n,)`` to bool: whether that pair may be.
        permutations: How many.
        seed: Seed of the exchanges.

    Returns:
        ``(permutation, pair)``: the partners of each pair.

    Raises:
        ValueError: Left and right differ in length.
    """
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"expected two lists of one length, got {left.shape} and {right.shape}")
    random = np.random.default_rng(seed)
    hub = _exchanged(right[None], allowed, random)
    return _exchanged(np.repeat(hub, permutations, axis=0), allowed, random)


SWEEPS = 20
"""Times that every pair is offered an exchange on the way to a permutation."""


def _exchanged(
    partners: Index, allowed: Callable[[Index, Index], NDArray[np.bool_]], random: np.random.Generator
) -> Index:
    """After some sweeps of exchanges between disjoint couples of pairs; every row is a chain of its own."""
    found = partners.copy()
    chains, pairs = found.shape
    if pairs < 2:
        return found
    row = np.arange(chains)[:, None]
    for _ in range(SWEEPS):
        order = random.permuted(np.tile(np.arange(pairs), (chains, 1)), axis=1)
        one, other = order[:, : pairs // 2], order[:, pairs // 2 : 2 * (pairs // 2)]
        theirs, ours = found[row, other], found[row, one]
        fits = allowed(one.ravel(), theirs.ravel()) & allowed(other.ravel(), ours.ravel())
        fits = fits.reshape(one.shape) & (random.random(one.shape) < 0.5)  # always exchanging keeps a parity
        found[row, one] = np.where(fits, theirs, ours)
        found[row, other] = np.where(fits, ours, theirs)
    return found


def ranked(given: Array, permuted: Array) -> tuple[Array, Array]:
    r"""Return p-values of each entry against its permutations, raw and adjusted for the family.

    .. math:: p_h = \frac{1 + \#\{r : T^r_h \ge T_h\}}{R + 1}, \qquad
              \tilde p_h = \frac{1 + \#\{r : \max_{h'} z^r_{h'} \ge z_h\}}{R + 1}

    z is standardised over all R + 1, the given one included, which keeps them exchangeable.

    Args:
        given: ``(entry,)``.
        permuted: ``(permutation, entry)``.

    Returns:
        p and adjusted p, ``(entry,)``; NaN where the entry is NaN.
    """
    every = np.concatenate([given[None], permuted])
    known = ~np.isnan(every).any(axis=0)
    count = len(every)
    p, adjusted = np.full(len(given), np.nan), np.full(len(given), np.nan)
    if not known.any():
        return p, adjusted
    kept = every[:, known]
    spread = kept.std(axis=0)
    z = (kept - kept.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    tie = 1e-10
    largest = z.max(axis=1)
    p[known] = (z >= z[0] - tie).sum(axis=0) / count
    adjusted[known] = (largest[:, None] >= z[0] - tie).sum(axis=0) / count
    return p, adjusted
