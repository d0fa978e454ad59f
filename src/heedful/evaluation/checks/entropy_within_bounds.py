"""Section 1: is the measured entropy of every row possible, given its logits?"""

from __future__ import annotations

import numpy as np

from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.units import largest_of
from heedful.inference.verdict import Verdict

SOURCE = "0 <= H <= log n; lower bound by the logits' norm: Zhai et al. 2023, arXiv:2303.06296, theorem 3.1"
LIMIT = 1e-3
"""Nats by which float32 statistics may overstep a bound."""


@check(
    section=1,
    source=SOURCE,
    meaning="If a measured entropy is impossible, heedful measured wrongly and you should trust no other number here.",
)
def entropy_within_bounds(study: Study) -> list[Finding]:
    """Each row's entropy lies between a lower bound computed from the norm of its logits and log n, for n visible
    keys. A violation is an error of heedful's own measurement.
    """
    excess = max(largest_of(layer.values["entropy_excess"]) for layer in study.observed.layers)
    deficit = max(largest_of(layer.values["entropy_deficit"]) for layer in study.observed.layers)
    worst = max(excess, deficit)
    if not np.isfinite(worst):
        return [
            Finding(
                claim="entropy_within_bounds",
                verdict=Verdict.UNDEFINED,
                reason="no row with finite weights was measured",
                source=SOURCE,
            )
        ]
    return [
        Finding(
            claim="entropy_within_bounds",
            verdict=Verdict.FAIL if worst > LIMIT else Verdict.PASS,
            reason=f"largest overstep {max(worst, 0.0):.1e} nats (above log n: {max(excess, 0.0):.1e}; "
            f"below the norm's bound: {max(deficit, 0.0):.1e})",
            estimate=max(worst, 0.0),
            unit="nat",
            n=study.n_documents,
            null="exact: 0",
            threshold=LIMIT,
            source=SOURCE,
        )
    ]
