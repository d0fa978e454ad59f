"""Section 4: does attention become more uniform as more keys are visible?"""

from __future__ import annotations

import numpy as np

from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.evaluation.unit_values import unit_values
from heedful.inference.margin import judge
from heedful.inference.mean_interval import mean_interval
from heedful.inference.units import mean_of
from heedful.inference.verdict import Verdict

SOURCE = (
    "slope of nats from uniform over log keys: 0 a fixed share of keys, 1 a fixed number; "
    "Velickovic et al. 2024, arXiv:2410.01104"
)


@check(
    section=4,
    source=SOURCE,
    definition=2,
    meaning="If attention thins out with length, long contexts are averaged rather than searched.",
)
def concentration_keeps_with_length(study: Study) -> list[Finding]:
    """Averaged over heads, queries with many visible keys attend no more uniformly than queries with few."""
    evidence = study.observed
    rise = evidence.stacked("concentration_long") - evidence.stacked("concentration_short")
    run = evidence.stacked("log_keys_long") - evidence.stacked("log_keys_short")
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(run > 0, rise / run, np.nan)
    if np.isnan(slope).all():
        return [
            Finding(
                claim="concentration_keeps_with_length",
                verdict=Verdict.UNDEFINED,
                reason="all rows see about equally many keys (bidirectional model or short text): there is no slope",
                source=SOURCE,
            )
        ]
    units = study.units(mean_of(slope, axis=1))
    interval = mean_interval(units)
    margin = study.settings.margins.dispersal
    count = int(np.isfinite(units).sum())
    verdict, reason = judge(
        interval, present_above=margin, absent_below=margin, units=count, smallest=study.settings.least_units
    )
    if verdict is Verdict.ABSENT:
        verdict, reason = Verdict.WARN, f"attention disperses with length: {reason}"
    return [
        Finding(
            claim="concentration_keeps_with_length",
            verdict=verdict,
            reason=reason,
            estimate=float(interval.estimate),
            interval=(float(interval.low), float(interval.high)),
            unit="nat per log key",
            n=count,
            null="0: a fixed share of the visible keys",
            threshold=margin,
            source=SOURCE,
            units=unit_values(units),
        )
    ]
