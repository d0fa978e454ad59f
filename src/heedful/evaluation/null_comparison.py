"""Compare each head with heads that have learned nothing, or with the margin by a one-sided test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from heedful.evaluation.evidence import Array
from heedful.evaluation.query_key_orientation import WORDS
from heedful.evaluation.study import Study
from heedful.inference.multiplicity import count_discoveries, holm
from heedful.inference.signflip import max_rank_p, pooled_rank_p, rank_p
from heedful.inference.skewness import above_p
from heedful.inference.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class NullComparison:
    """The null comparison of all heads: its name and the p-value of each head.

    Attributes:
        null: What the heads are compared with, in words.
        p: ``(all heads,)``; NaN where it is undefined.
        p_adjusted: The same, adjusted for the family of all heads.
        exceeded: What a small p says of a head ("exceeds the null").
        reached: What a large one says ("the null shows an effect as large").
        found: Number of heads that the comparison singles out; None where it has no p.
        counted: What is said of that number, and how it was counted.
        available: False where the comparison is wanted and could not be made.
    """

    null: str
    p: Array
    p_adjusted: Array
    exceeded: str = "exceeds the null"
    reached: str = "the null shows an effect as large"
    found: int | None = None
    counted: str = ""
    available: bool = True

    def verdict(self, head: int, verdict: Verdict, reason: str, alpha: float) -> tuple[Verdict, str]:
        """Combine a head's interval verdict with this comparison: PASS needs both."""
        if verdict is not Verdict.PASS:
            return verdict, reason
        return with_p(verdict, reason, float(self.p_adjusted[head]), alpha, self.exceeded, self.reached)


def with_p(
    verdict: Verdict, reason: str, adjusted: float, alpha: float, exceeded: str, reached: str
) -> tuple[Verdict, str]:
    """Return the verdict and its reason after a significance test: the verdict is kept if the adjusted p-value is at
    most ``alpha``, otherwise it becomes WARN.
    """
    if math.isnan(adjusted):
        return Verdict.WARN, f"{reason}, but the comparison is undefined: descriptive only"
    if adjusted <= alpha:
        return verdict, f"{reason} and {exceeded} (adjusted p {adjusted:.3g})"
    return Verdict.WARN, f"{reason}, but {reached} (adjusted p {adjusted:.3g} > {alpha:g})"


def untrained(study: Study, name: str) -> NullComparison:
    """Rank each head's statistic among untrained heads: random projections, or freshly initialised models.

    Args:
        study: The study.
        name: Statistic of the null.
    """
    null = study.nulls.get(name)
    if null is None:
        nan = np.full(len(study.on_null_subset(name)), math.nan)
        return NullComparison(null=f"not available: {study.null_reason}", p=nan, p_adjusted=nan, available=False)
    alpha = study.settings.alpha
    raw, adjusted = null_p(study, study.on_null_subset(name), null)
    words, found = f"{len(null)} {study.null_words}", _family_wise(adjusted, alpha)
    if not np.isfinite(raw).any():
        return NullComparison(null=words, p=raw, p_adjusted=adjusted)
    if enough_for_holm(study, len(null)):
        found, counted = count_discoveries(raw, alpha), f"beyond the null (BH, q = {alpha:g})"
    else:
        counted = f"beyond the null (family-wise, {alpha:.0%})"
    return NullComparison(null=words, p=raw, p_adjusted=adjusted, found=found, counted=counted)


def margin(study: Study, units: Array, above: float, null: str) -> NullComparison:
    """Test each head against the margin, one-sided over documents, with Holm's adjustment over all heads.

    Args:
        study: The study.
        units: ``(document, all heads)``.
        above: The margin.
        null: That margin in words.
    """
    raw, adjusted = margin_p(units, above)
    return NullComparison(
        null=null,
        p=raw,
        p_adjusted=adjusted,
        exceeded="does so after adjustment for all heads",
        reached="not after adjustment for all heads",
        found=_family_wise(adjusted, study.settings.alpha),
        counted=f"beyond the margin (family-wise, {study.settings.alpha:.0%})",
    )


def margin_p(units: Array, above: float) -> tuple[Array, Array]:
    """Return raw and Holm-adjusted p-values of "the effect is at most the margin", each ``(head,)``.

    Args:
        units: ``(document, all heads)``, on the scale of the margin.
        above: The margin.
    """
    raw = above_p(units, above)
    return raw, np.asarray(holm(raw))


def _family_wise(adjusted: Array, alpha: float) -> int | None:
    """Number of adjusted p at or below alpha; None where none is defined."""
    return int(np.nansum(adjusted <= alpha)) if np.isfinite(adjusted).any() else None


def enough_for_holm(study: Study, models: int) -> bool:
    """Return whether ``models`` null models suffice for one head to stay significant after Holm's adjustment."""
    heads = [layer.heads for layer in study.observed.layers]
    return max(sum(heads) / (models * count + 1) for count in heads) <= study.settings.alpha


def null_p(study: Study, tested: Array, null: Array) -> tuple[Array, Array]:
    """Return rank p-values against null models, raw and adjusted over all heads, each ``(head,)``.

    Where R allows Holm's adjustment to reach the significance level (a matter of R and the number of heads alone), raw
    p pools the heads of a layer and Holm adjusts it. Else raw p ranks the head among its own values, and the adjusted
    p its standardised value among the largest of each model: an adjusted p is never below the raw one.

    Args:
        study: The study.
        tested: ``(all heads,)``.
        null: ``(model, all heads)``.
    """
    if not enough_for_holm(study, len(null)):
        return np.asarray(rank_p(tested, null), dtype=float), np.asarray(max_rank_p(tested, null), dtype=float)
    raw, start = np.full(len(tested), math.nan), 0
    for layer in study.observed.layers:
        part = slice(start, start + layer.heads)
        raw[part] = pooled_rank_p(tested[part], null[:, part])
        start += layer.heads
    return raw, np.asarray(holm(raw))


def content_null(study: Study, statistic: str) -> NullComparison:
    """Return the null comparison for claims that attention depends on content.

    Random orientations of queries against keys, which untrained models of any initialisation show; the draws of the
    other claims where queries and keys are not known before positions turn them, or where the settings ask for fresh
    models.

    Args:
        study: The study.
        statistic: The claim's statistic of fresh models.
    """
    scores, why = study.content_orientation if study.settings.null == "random" else (None, "")
    if scores is None:
        fresh = untrained(study, statistic)
        if fresh.available or not why:
            return fresh
        nan = np.full(len(fresh.p), math.nan)
        message = f"not available: {why}; and {study.null_reason}"
        return NullComparison(null=message, p=nan, p_adjusted=nan, available=False)
    alpha = study.settings.alpha
    known = np.isfinite(scores.p_adjusted)
    return NullComparison(
        null=WORDS,
        p=scores.p,
        p_adjusted=scores.p_adjusted,
        exceeded="its queries and keys are aligned",
        reached="randomly rotated queries and keys show an effect as large",
        found=int((scores.p_adjusted[known] <= alpha).sum()) if known.any() else None,
        counted=f"beyond random orientations (family-wise, {alpha:.0%})",
    )
