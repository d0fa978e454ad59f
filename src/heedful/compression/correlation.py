"""Rank correlations between statistics of heads or layers, with an interval from resampled documents and a p-value
from the number of heads or layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heedful.compression.loss_context import EvaluationContext
from heedful.compression.record import RankCorrelation
from heedful.evaluation.evidence import Array
from heedful.inference.correlation import spearman_over_units
from heedful.inference.multiplicity import holm


@dataclass(frozen=True)
class Question:
    """Two statistics whose rank correlation over heads or layers is to be computed.

    Attributes:
        x: First property.
        y: Second property.
        under: Under which quantizer or ranking.
        first: ``(sequence, item)``.
        second: ``(sequence, item)``.
    """

    x: str
    y: str
    under: str
    first: Array
    second: Array


def rank_correlations(context: EvaluationContext, questions: Sequence[Question]) -> list[RankCorrelation]:
    """Return Spearman correlations of the document means of each pair of statistics.

    The interval is over documents, for these very items. Whether as much would come about among unrelated items is
    what p says: Student's t of the correlation with two degrees fewer than items, Holm over all questions. Source:
    Kendall and Stuart 1973, section 31.19.

    Args:
        context: Whose documents the sequences are of.
        questions: What to ask.
    """
    found = []
    for one in questions:
        first, second = context.exact_units(one.first), context.exact_units(one.second)
        interval = spearman_over_units(first, second, resamples=context.resamples, seed=context.seed)
        found.append((one, interval))
    raw = [_p(float(interval.estimate), one.first.shape[1]) for one, interval in found]
    adjusted = np.asarray(holm(np.array(raw))) if raw else np.array([])
    return [
        RankCorrelation(
            x=one.x,
            y=one.y,
            under=one.under,
            items=one.first.shape[1],
            estimate=float(interval.estimate),
            low=float(interval.low),
            high=float(interval.high),
            p=float(p),
        )
        for (one, interval), p in zip(found, adjusted, strict=True)
    ]


def _p(rho: float, items: int) -> float:
    from scipy.stats import t

    if math.isnan(rho) or items < 3:
        return math.nan
    if abs(rho) >= 1:
        return 2.0 / math.factorial(items) if items < 20 else 0.0
    return float(2 * t.sf(abs(rho) * math.sqrt((items - 2) / (1 - rho * rho)), items - 2))
