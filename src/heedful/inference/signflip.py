"""Sign-flip test of a zero mean over units, for each entry and adjusted for the whole family.

Rank tests against untrained models: has this head learned anything?

Exchange partners between given pairs so that every new pair is allowed; this gives the null distribution of a
statistic of the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heedful.inference.units import BLOCK_BYTES, Array, as_units

ALTERNATIVES = ("two-sided", "greater", "less")
ENTRIES_AT_ONCE = 1024
# Flipped means this close to the observed one are ties that rounding broke; they count against the claim.
TIE = 1e-10


@dataclass(frozen=True)
class SignFlip:
    """Result of a sign-flip test.

    Attributes:
        p: p-value of each entry.
        p_adjusted: p-value of each entry adjusted for the family of all entries (max-T).
        flips: Sign vectors tried, the observed one included.
        exact: Whether these were all there are.
    """

    p: float | Array
    p_adjusted: float | Array
    flips: int
    exact: bool


def sign_flip(values: ArrayLike, *, resamples: int = 1999, seed: int, alternative: str = "two-sided") -> SignFlip:
    r"""Test for a zero mean over units by flipping signs, with max-T adjustment over entries.

    .. math:: p = \frac{1 + \#\{b : |\overline{\varepsilon^b x}| \ge |\bar x|\}}{B + 1}, \qquad \varepsilon_g = \pm 1

    with the same signs for all entries. The adjusted p compares :math:`\sum_g x_g / \sqrt{\sum_g x_g^2}` with its
    largest value over all entries in each flip. All sign vectors are enumerated when there are no more of them than
    ``resamples``; p is then their share.

    Reading: valid for any dependence between heads, as whole units are flipped; p is never 0.
    Pitfall: supposes that units are symmetric about zero under the null; strong skew wants :func:`bootstrap_t`.
    Source: Phipson and Smyth 2010, doi:10.2202/1544-6115.1585; Westfall and Young 1993, single-step max-T; Winkler et
    al. 2014, doi:10.1016/j.neuroimage.2014.01.060.

    Args:
        values: One difference from the null value a unit and entry, ``(unit, ...)``; NaN units are dropped entry by
            entry.
        resamples: Random sign vectors B.
        seed: Seed of the signs.
        alternative: Sign of the mean that speaks against the null: "two-sided" for any, "greater", or "less".

    Returns:
        p and adjusted p, ``(...)``, in (0, 1]; NaN where no unit is present or one is infinite.

    Raises:
        ValueError: ``resamples`` is below 1, or the alternative is unknown.
    """
    numbers = as_units(values)
    if resamples < 1:
        raise ValueError(f"expected at least 1 resample, got {resamples}")
    if alternative not in ALTERNATIVES:
        raise ValueError(f"expected alternative 'two-sided', 'greater' or 'less', got {alternative!r}")
    shape = numbers.shape[1:]
    scores, defined = _scores(-numbers if alternative == "less" else numbers)
    two_sided = alternative == "two-sided"
    observed = np.abs(scores.sum(axis=0)) if two_sided else scores.sum(axis=0)
    exact = 2 ** len(numbers) <= resamples
    blocks = _all_signs(len(numbers)) if exact else _random_signs(len(numbers), resamples, seed)
    reached, largest = _compare(scores, observed, blocks, two_sided)
    family = len(largest) - np.searchsorted(np.sort(largest), observed - TIE, side="left")
    beside = 0 if exact else 1
    flips = len(largest) + beside
    p, p_adjusted = np.full(len(defined), np.nan), np.full(len(defined), np.nan)
    p[defined], p_adjusted[defined] = (reached + beside) / flips, (family + beside) / flips
    return SignFlip(p.reshape(shape)[()], p_adjusted.reshape(shape)[()], flips, exact)


def _scores(numbers: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Defined entries ``(unit, entry)`` over their root sum of squares, and which entries these are."""
    flat = numbers.reshape(len(numbers), -1)
    present = ~np.isnan(flat)
    defined: NDArray[np.bool_] = np.asarray(present.any(axis=0) & ~np.isinf(flat).any(axis=0))
    kept = np.where(present, flat, 0.0)[:, defined]
    largest = np.abs(kept).max(axis=0, initial=0.0)
    scaled = kept / np.where(largest > 0, largest, 1.0)
    root = np.sqrt((scaled**2).sum(axis=0))
    return scaled / np.where(root > 0, root, 1.0), defined


def _all_signs(units: int) -> Iterator[Array]:
    """Every vector of signs, ``(2 ** unit, unit)``, the observed one first."""
    yield 1.0 - 2.0 * ((np.arange(2**units)[:, None] >> np.arange(units)) & 1).astype(np.float64)


def _random_signs(units: int, resamples: int, seed: int) -> Iterator[Array]:
    """Random vectors of signs, ``(resample, unit)``, in blocks of about 4 MiB."""
    random = np.random.default_rng(seed)
    size = max(1, BLOCK_BYTES // (8 * units))
    for start in range(0, resamples, size):
        yield 1.0 - 2.0 * random.integers(2, size=(min(size, resamples - start), units)).astype(np.float64)


def _compare(scores: Array, observed: Array, blocks: Iterator[Array], two_sided: bool) -> tuple[Array, Array]:
    """Flips that reach each observed value ``(entry,)``, and the largest value of each flip ``(flip,)``."""
    reached = np.zeros(len(observed))
    largest = []
    for signs in blocks:
        highest = np.full(len(signs), -np.inf)
        for start in range(0, len(observed), ENTRIES_AT_ONCE):
            some = slice(start, start + ENTRIES_AT_ONCE)
            flipped = signs @ scores[:, some]
            if two_sided:
                np.abs(flipped, out=flipped)
            reached[some] += (flipped >= observed[some] - TIE).sum(axis=0)
            np.maximum(highest, flipped.max(axis=1), out=highest)
        largest.append(highest)
    return reached, np.concatenate(largest)


EXPECTED = "expected null (model, ...) with at least one model, its entries shaped as observed {}, got {}"


def rank_p(observed: ArrayLike, null: ArrayLike) -> Array | float:
    r"""Return the rank p-value: the share of models with a statistic of at least ``observed``, the tested model among
    them.

    .. math:: p = \frac{1 + \#\{r : T_r \ge T\}}{R + 1}

    Reading: exact when tested and null models are exchangeable under the null; never 0, and never below 1 / (R + 1):
    19 models screen, 99 test. Pitfall: small statistics are not evidence here; negate both to ask for them.
    Source: Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.

    Args:
        observed: Statistic of the tested model, ``(...)``, any unit.
        null: The same of R untrained models, ``(model, ...)``; NaN models are dropped entry by entry.

    Returns:
        p ``(...)`` in (0, 1]; NaN where the observed value or every null value is NaN.

    Raises:
        ValueError: The shapes do not match, or there is no null model.
    """
    tested, models = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if not _comparable(tested, models):
        raise ValueError(EXPECTED.format(tested.shape, models.shape))
    present = ~np.isnan(models)
    reached = (models >= tested).sum(axis=0)
    count = present.sum(axis=0)
    p: Array = np.where(np.isnan(tested) | (count == 0), np.nan, (1.0 + reached) / (count + 1.0))
    return p[()]


def pooled_rank_p(observed: ArrayLike, null: ArrayLike) -> Array | float:
    r"""Return each head's rank p-value among all heads of its layer in all null models.

    .. math:: p_h = \frac{1 + \#\{(r, h') : T_{r h'} \ge T_h\}}{R H + 1}

    Reading: for few null models, as heads of one layer of an untrained model are exchangeable; measured 3.3-4.8 % false
    at a nominal 5 %. Pitfall: wrong where heads of a layer differ by design (head-wise slopes as in ALiBi).
    Source: Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.

    Args:
        observed: Statistic of the tested model, ``(..., head)``.
        null: The same of R untrained models, ``(model, ..., head)``; NaN values are dropped.

    Returns:
        p ``(..., head)`` in (0, 1]; NaN where the observed value or the whole null of the layer is NaN.

    Raises:
        ValueError: The shapes do not match, or there is no null model or no head axis.
    """
    tested, models = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if tested.ndim == 0:
        raise ValueError("expected observed values (..., head), got a single number")
    if not _comparable(tested, models):
        raise ValueError(EXPECTED.format(tested.shape, models.shape))
    pool = np.moveaxis(models, -1, 1).reshape(-1, *tested.shape[:-1])
    return rank_p(tested, np.broadcast_to(pool[..., None], (len(pool), *tested.shape)))


def max_rank_p(observed: ArrayLike, null: ArrayLike) -> Array | float:
    r"""Return family-adjusted rank p-values: each entry against the null models' largest standardised entries.

    .. math:: z_{r h} = (T_{r h} - m_h) / s_h, \qquad
              p_h = \frac{1 + \#\{r : \max_{h'} z_{r h'} \ge z_h\}}{R + 1}

    with mean and standard deviation over all R + 1 models, the tested one among them, so that models stay exchangeable.

    Reading: the chance of any false claim in the family is at most the level, whatever the dependence between heads.
    Pitfall: z cannot exceed :math:`\sqrt R`; few models see only what all heads together make plain.
    Source: Westfall and Young 1993, single-step max-T; Phipson and Smyth 2010, doi:10.2202/1544-6115.1585.

    Args:
        observed: Statistic of the tested model, ``(...)``; all entries are one family.
        null: The same of R untrained models, ``(model, ...)``.

    Returns:
        Adjusted p ``(...)`` in (0, 1]; NaN where the observed value or the whole null of the entry is NaN or a value is
        infinite; such entries leave the family.

    Raises:
        ValueError: The shapes do not match, or there is no null model.
    """
    tested, models = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if not _comparable(tested, models):
        raise ValueError(EXPECTED.format(tested.shape, models.shape))
    everyone = np.concatenate([tested[None], models])
    count = (~np.isnan(everyone)).sum(axis=0)
    defined = ~np.isnan(tested) & (count > 1) & ~np.isinf(everyone).any(axis=0)
    family = everyone[:, defined]
    reference = np.fmin.reduce(family, axis=0, initial=np.inf)
    shifted = family - reference
    centred = shifted - np.nansum(shifted, axis=0) / count[defined]
    spread = np.sqrt(np.nansum(centred**2, axis=0) / count[defined])
    z = centred / np.where(spread > 0, spread, 1.0)
    measured = z[1:][~np.isnan(z[1:]).all(axis=1)]
    largest = np.fmax.reduce(measured, axis=1, initial=-np.inf)
    p = np.full(tested.shape, np.nan)
    p[defined] = (1.0 + (largest[:, None] >= z[0]).sum(axis=0)) / (len(measured) + 1.0)
    return p[()]


def _comparable(tested: Array, models: Array) -> bool:
    """Whether the null holds at least one model, and each model the entries of the tested one."""
    return models.ndim > 0 and len(models) > 0 and models.shape[1:] == tested.shape


Index = NDArray[np.int64]


def permuted_partners(
    left: Index, right: Index, allowed: Callable[[Index, Index], NDArray[np.bool_]], *, permutations: int, seed: int
) -> Index:
    """Exchange the right partners of the pairs at random, so that every new pair is allowed; return them,
    ``(permutation, pair)``.

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
