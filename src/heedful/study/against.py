"""What heads are compared with: untrained models, the margin itself, or the same tokens shuffled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from heedful.core.result import Verdict
from heedful.inference import count_discoveries, holm, max_rank_p, pooled_rank_p, sign_flip
from heedful.study.evidence import Array
from heedful.study.study import Study

RANDOM_INIT = "untrained models of the same config"


@dataclass(frozen=True, kw_only=True)
class Against:
    """A comparison of every head, and how it came out.

    Attributes:
        null: What the heads are compared with, in words.
        p: ``(all heads,)``; NaN where it is undefined.
        p_adjusted: The same, adjusted for the family of all heads.
        exceeded: What a small p says of a head ("exceeds the null").
        reached: What a large one says ("the null shows as much").
        counted: What it says of a number of heads ("beyond the null").
        available: False where the comparison is wanted and could not be made.
    """

    null: str
    p: Array
    p_adjusted: Array
    exceeded: str = "exceeds the null"
    reached: str = "the null shows as much"
    counted: str = "beyond the null"
    available: bool = True

    def verdict(self, head: int, verdict: Verdict, reason: str, alpha: float) -> tuple[Verdict, str]:
        """A head's verdict by its interval, with this comparison taken into account: PASS needs both."""
        if verdict is not Verdict.PASS:
            return verdict, reason
        return with_p(verdict, reason, float(self.p_adjusted[head]), alpha, self.exceeded, self.reached)

    def discoveries(self, alpha: float) -> tuple[int | None, str]:
        """Number of heads that the comparison singles out, and by which procedure it was counted.

        Benjamini-Hochberg over p where Holm's adjustment was possible; else the family-wise p, which need no more than
        19 null models.
        """
        if not np.isfinite(self.p).any():
            return None, ""
        if np.array_equal(self.p_adjusted, np.asarray(holm(self.p)), equal_nan=True):
            return count_discoveries(self.p), f"{self.counted} (BH, q = .05)"
        return int(np.nansum(self.p_adjusted <= alpha)), f"{self.counted} (family-wise, {alpha:.0%})"


def with_p(
    verdict: Verdict, reason: str, adjusted: float, alpha: float, exceeded: str, reached: str
) -> tuple[Verdict, str]:
    """PASS kept, or taken back to WARN, by an adjusted p."""
    if math.isnan(adjusted):
        return Verdict.WARN, f"{reason}, but the comparison is undefined: descriptive only"
    if adjusted <= alpha:
        return verdict, f"{reason} and {exceeded} (adjusted p {adjusted:.3g})"
    return Verdict.WARN, f"{reason}, but {reached} (adjusted p {adjusted:.3g} > {alpha:g})"


def untrained(study: Study, name: str) -> Against:
    """Ranks of a statistic among fresh models of the same config.

    Args:
        study: The study.
        name: Statistic of the null models.
    """
    null = study.nulls.get(name)
    if null is None:
        nan = np.full(len(study.on_null_subset(name)), math.nan)
        return Against(null=f"not available: {study.null_reason}", p=nan, p_adjusted=nan, available=False)
    raw, adjusted = null_p(study, study.on_null_subset(name), null)
    return Against(null=f"{len(null)} {RANDOM_INIT}", p=raw, p_adjusted=adjusted)


def margin(study: Study, units: Array, above: float, null: str) -> Against:
    """Sign flips of the documents' distances from the margin: the family-wise error of naming heads by it is held.

    Args:
        study: The study.
        units: ``(document, all heads)``.
        above: The margin.
        null: That margin in words.
    """
    test = sign_flip(units - above, resamples=study.settings.resamples, seed=study.settings.seed, alternative="greater")
    return Against(
        null=null,
        p=np.asarray(test.p),
        p_adjusted=np.asarray(test.p_adjusted),
        exceeded="does so after adjustment for all heads",
        reached="not after adjustment for all heads",
        counted="beyond the margin",
    )


def shuffled_tokens(study: Study, difference: Array, null: str) -> Against:
    """Sign flips of the documents' differences from the same tokens in another order, either way.

    Args:
        study: The study.
        difference: ``(document, all heads)``.
        null: What stands on shuffled tokens, in words.
    """
    test = sign_flip(difference, resamples=study.settings.resamples, seed=study.settings.seed)
    return Against(
        null=null,
        p=np.asarray(test.p),
        p_adjusted=np.asarray(test.p_adjusted),
        exceeded="differs from shuffled tokens",
        reached="shuffled tokens show as much",
        counted="unlike on shuffled tokens",
    )


def null_p(study: Study, tested: Array, null: Array) -> tuple[Array, Array]:
    """Rank p and family-adjusted p of each head against null models.

    Raw p pools the heads of a layer. The adjusted p is Holm's over those where R allows it to reach the significance
    level (a matter of R and the number of heads alone), else that of the largest standardised head of each model.

    Args:
        study: The study.
        tested: ``(all heads,)``.
        null: ``(model, all heads)``.
    """
    raw, start = np.full(len(tested), math.nan), 0
    floors = []
    for layer in study.observed.layers:
        part = slice(start, start + layer.heads)
        raw[part] = pooled_rank_p(tested[part], null[:, part])
        floors.append(1 / (len(null) * layer.heads + 1))
        start += layer.heads
    if max(floors) * len(tested) <= study.settings.alpha:
        return raw, np.asarray(holm(raw))
    return raw, np.asarray(max_rank_p(tested, null), dtype=float)
