"""Sign-flip test of a zero mean over units, for each entry and adjusted for the whole family."""

from __future__ import annotations

from collections.abc import Iterator
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
