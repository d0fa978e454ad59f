"""Difference of two estimates with an interval: paired by document if documents are shared, else unpaired.

Find the documents that two reports share, by hashes of their tokens.

Equivalence test: two one-sided tests (TOST) at a given margin.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heedful.comparison.record import DEFINITION_CHANGED, redefined
from heedful.errors import UsageError
from heedful.evaluation.result import Finding
from heedful.inference.mean_interval import mean_interval
from heedful.inference.signflip import sign_flip
from heedful.inference.skewness import above_p
from heedful.reporting.quantity import count

if TYPE_CHECKING:
    from heedful.evaluation.result import Report


Array = NDArray[np.float64]

LEAST = 1e-6
"""Values of claims on a log scale are taken to be at least this, as in the report itself."""

FLIPS = 19_999
"""Sign flips of a paired test: after Holm over 100 claims, p can still reach 0.005."""


@dataclass(frozen=True)
class Difference:
    """Estimate after minus estimate before, with its interval.

    Attributes:
        estimate: In the unit of both; None where one is missing.
        interval: 95 % interval, or None.
        n: Documents behind it.
        paired: Whether documents were paired.
        p: Two-sided p of no difference, or None.
        within: Largest difference that counts as none, or None.
        p_equivalent: p of a difference as large as that, or None.
        reason: Why there is no interval or no pairing; empty otherwise.
    """

    estimate: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    paired: bool = False
    p: float | None = None
    within: float | None = None
    p_equivalent: float | None = None
    reason: str = ""


def difference_of(
    before: Finding | None,
    after: Finding | None,
    pairing: DocumentPairing,
    *,
    seed: int,
    within: Mapping[str, float] = MappingProxyType({}),
) -> Difference:
    """Return the difference between two reports' estimates of one claim.

    Args:
        before: The finding of the first report.
        after: That of the second.
        pairing: Documents that both share.
        seed: Seed of sign flips.
        within: Differences that count as none, by claim or unit.
    """
    if before is None or after is None:
        return Difference(reason="in one of the two reports only")
    if redefined(before, after):
        first, second = before.definition, after.definition
        return Difference(reason=f"{DEFINITION_CHANGED}: definition {first} of the claim, then {second}")
    if before.unit != after.unit:
        return Difference(reason=f"another unit: {before.unit or 'none'} and {after.unit or 'none'}")
    if _undefined(before.estimate) or _undefined(after.estimate):
        return Difference(reason=_signature(before, after) or "no estimate in at least one of the reports")
    values, margin = _pairs(before, after, pairing), margin_of(before, within)
    if values is not None:
        return _paired(before, after, values, seed, margin)
    return _unpaired(before, after, _why(before, after, pairing), margin)


def _signature(before: Finding, after: Finding) -> str:
    """What kind of work attention does in each report, for the finding that says so and has no estimate."""
    first, second = (one.detail.get("signature") for one in (before, after))
    if not first or not second:
        return ""
    return f"signature: {first} in both" if first == second else f"signature: {first}, then {second}"


def _undefined(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _pairs(before: Finding, after: Finding, pairing: DocumentPairing) -> tuple[Array, Array] | None:
    """Values of the documents that both findings have, or None where there are too few."""
    if before.units is None or after.units is None or not pairing.enough:
        return None
    if before.detail.get("scale") != after.detail.get("scale"):
        return None
    ours, theirs = _numbers(before.units), _numbers(after.units)
    if max(pairing.before) >= len(ours) or max(pairing.after) >= len(theirs):
        return None
    ours, theirs = ours[list(pairing.before)], theirs[list(pairing.after)]
    both = np.isfinite(ours) & np.isfinite(theirs)
    return (ours[both], theirs[both]) if both.sum() >= FEWEST else None


def _numbers(units: Sequence[float | None]) -> Array:
    return np.array([math.nan if value is None else value for value in units], dtype=np.float64)


def _paired(
    before: Finding, after: Finding, values: tuple[Array, Array], seed: int, margin: float | None
) -> Difference:
    """Interval over pairs; a ratio of geometric means is told at the level of the first report."""
    as_log = "scale" in before.detail
    ours, theirs = (np.log(np.clip(one, LEAST, None)) for one in values) if as_log else values
    change = theirs - ours
    if np.ptp(change) <= LEAST * max(1.0, float(np.abs(ours).max())):
        change = np.full_like(change, change.mean())  # rounding alone: the same value in every document
    found = mean_interval(change)
    shown = [float(x) for x in (found.estimate, found.low, found.high)]
    if as_log:
        level = float(np.exp(ours.mean()))
        shown = [level * math.expm1(min(x, 700.0)) for x in shown]
    p = float(sign_flip(change, resamples=FLIPS, seed=seed).p)
    same = abs(shown[0]) <= LEAST * max(1.0, abs(before.estimate or 0.0))
    return Difference(
        estimate=0.0 if same else shown[0],
        interval=(shown[1], shown[2]),
        n=len(change),
        paired=True,
        p=1.0 if same else p,
        within=margin,
        p_equivalent=None if margin is None else paired_p(change, margin),
        reason=_strongest(before, after),
    )


def _strongest(before: Finding, after: Finding) -> str:
    """Word on the head that each estimate is of, where it is another one."""
    first, second = (one.detail.get("strongest") for one in (before, after))
    return f"strongest head {first}, then {second}" if first != second else ""


def _unpaired(before: Finding, after: Finding, reason: str, margin: float | None) -> Difference:
    r"""Interval of a difference of two independent estimates from their own intervals (MOVER).

    .. math:: \hat d - \sqrt{(\hat b - b_l)^2 + (a_u - \hat a)^2}, \quad
              \hat d + \sqrt{(b_u - \hat b)^2 + (\hat a - a_l)^2}

    Reading: keeps the skew of both. Pitfall: too wide where both saw the same text. Source: Zou and Donner 2008,
    doi:10.1002/sim.3095. The p-value asks at which level this interval would reach 0, both halves taken as normal.
    """
    a, b = float(before.estimate or 0.0), float(after.estimate or 0.0)
    d, n = b - a, min(before.n, after.n)
    if before.interval is None or after.interval is None:
        return Difference(estimate=d, n=n, reason=reason)
    (a_low, a_high), (b_low, b_high) = before.interval, after.interval
    if any(math.isnan(bound) for bound in (a_low, a_high, b_low, b_high)):
        return Difference(estimate=d, n=n, reason="one of the intervals is undefined")
    low, high = d - math.hypot(b - b_low, a_high - a), d + math.hypot(b_high - b, a - a_low)
    alike = math.nan if margin is None or "scale" in before.detail else unpaired_p(d, low, high, margin)
    return Difference(
        estimate=d,
        interval=(low, high),
        n=n,
        p=_normal_p(d, low, high),
        within=margin,
        p_equivalent=None if math.isnan(alike) else alike,
        reason=reason,
    )


def _normal_p(d: float, low: float, high: float) -> float | None:
    from scipy.special import ndtr, ndtri

    half = d - low if d > 0 else high - d
    if not math.isfinite(half) or half <= 0:
        return 1.0 if d == 0 else None
    return float(2.0 * ndtr(-abs(d) / half * ndtri(0.975)))


def _why(before: Finding, after: Finding, pairing: DocumentPairing) -> str:
    if before.interval is None or after.interval is None:
        return "an exact value or a count, without an interval"
    if before.units is None or after.units is None:
        return "not paired: the reports hold no values by document"
    return "" if not pairing.enough else f"not paired: fewer than {FEWEST} documents have a value in both"


FEWEST = 16
"""Shared documents below which nothing is paired: as for every interval of a report."""


@dataclass(frozen=True)
class DocumentPairing:
    """Indices of the shared documents in each of two reports.

    Attributes:
        before: Index into the units of the first report, one a pair.
        after: Index into those of the second.
        sentence: One sentence for the reader.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    sentence: str

    @property
    def enough(self) -> bool:
        """Whether there are enough shared documents for a paired comparison."""
        return len(self.before) >= FEWEST


def pair_documents(before: Report, after: Report) -> DocumentPairing:
    """Match the documents of two reports by the hash of their tokens.

    Copies of one text are paired in their order. A report that was written without fingerprints pairs with none.

    Args:
        before: The first report.
        after: The second.
    """
    first, second = (_names(report) for report in (before, after))
    if not first or not second:
        which = "the first report lacks" if second else "the second report lacks" if first else "both reports lack"
        return DocumentPairing(
            (), (), f"not paired: {which} the names of documents (an older heedful); by the two intervals"
        )
    place = {name: index for index, name in enumerate(second)}
    pairs = [(index, place[name]) for index, name in enumerate(first) if name in place]
    ours, theirs = zip(*pairs, strict=True) if pairs else ((), ())
    sentence = f"{count(len(pairs), 'document is', 'documents are')} in both reports ({len(first)} and {len(second)})"
    if len(pairs) < FEWEST:
        return DocumentPairing(
            ours, theirs, f"not paired: {sentence}, at least {FEWEST} are needed; by the two intervals"
        )
    return DocumentPairing(ours, theirs, f"paired by document: {sentence}")


def _names(report: Report) -> list[Hashable]:
    """Fingerprint and count of earlier copies of each document."""
    given = report.data.get("document_fingerprints")
    if not isinstance(given, Sequence) or isinstance(given, str):
        return []
    seen: Counter[str] = Counter()
    names: list[Hashable] = []
    for one in given:
        names.append((str(one), seen[str(one)]))
        seen[str(one)] += 1
    return names


ALPHA = 0.05

MARGINS = {
    "nat/token": 0.01,
    "nat": 0.05,
    "mass": 0.05,
    "mass within 3": 0.05,
    "log ratio": math.log(1.1),
    "log odds": math.log(1.1),
    "log": math.log(1.1),
}
"""Largest difference that counts as none, by unit; ``log`` is for claims judged on a log scale: a factor of 1.1."""


class Equivalence(StrEnum):
    """Outcome of comparing one claim: different, equivalent, or undecided."""

    EQUIVALENT = "EQUIVALENT"
    DIFFERENT = "DIFFERENT"
    NOT_SETTLED = "NOT SETTLED"


def check_margins(within: Mapping[str, float]) -> None:
    """Raise an error if a margin is not positive.

    Raises:
        UsageError: One is not.
    """
    for name, value in within.items():
        if not (value > 0 and math.isfinite(value)):
            raise UsageError(f"within: {name}={value}: expected a positive number")


def margin_of(finding: Finding, within: Mapping[str, float]) -> float | None:
    """Return a claim's equivalence margin: as given for claim or unit, else from ``MARGINS``; None if there is none.

    Args:
        finding: A finding of the claim.
        within: Margins by claim or unit, on the scale on which the claim is judged.
    """
    unit = "log" if finding.detail.get("scale") == "log" else finding.unit
    return within.get(finding.claim, within.get(unit, MARGINS.get(unit)))


def paired_p(change: Array, margin: float) -> float:
    r"""Return the p-value of "the estimates differ by at least the margin": the larger of two one-sided paired tests.

    .. math:: p = \\max\\bigl(p_{\\mu \\le -m},\\; p_{\\mu \\ge m}\\bigr)

    Reading: at most 5 % means that the mean difference lies within the margin. Pitfall: a large p says nothing.
    Source: Schuirmann 1987, doi:10.1007/BF01068419; each test as ``inference.skewness.above_p``.

    Args:
        change: Second less first, ``(document,)``.
        margin: Largest difference that counts as none.
    """
    return float(max(above_p(change, -margin), above_p(-change, -margin)))


def unpaired_p(difference: float, low: float, high: float, margin: float) -> float:
    """Return the p-value of "the estimates differ by at least the margin", from a 95 % interval by a normal
    approximation.
    """
    from scipy.special import ndtr, ndtri

    quantile = float(ndtri(0.975))
    below, above = (difference - low) / quantile, (high - difference) / quantile
    if not (below > 0 and above > 0 and math.isfinite(below + above)):
        return math.nan
    return float(max(ndtr(-(difference + margin) / below), ndtr(-(margin - difference) / above)))


def answer(p_equivalent: float | None, p_different: float | None) -> Equivalence | None:
    """Return the outcome from two adjusted p-values; None if both are unknown.

    A difference that is shown, and shown to be within the margin, is EQUIVALENT: it is known to be small.
    """
    if p_equivalent is None and p_different is None:
        return None
    if p_equivalent is not None and p_equivalent <= ALPHA:
        return Equivalence.EQUIVALENT
    return Equivalence.DIFFERENT if p_different is not None and p_different <= ALPHA else Equivalence.NOT_SETTLED
