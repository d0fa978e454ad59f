"""Test whether a query's weights differ from those of an earlier query, over the keys visible to both."""

from __future__ import annotations

import math
from dataclasses import replace

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.null_comparison import content_null
from heedful.evaluation.null_inputs import EXCESS
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.signflip import sign_flip
from heedful.inference.units import mean_of


def lagged_queries(study: Study, claim: str, lag: str, source: str) -> list[Finding]:
    """Return findings on queries 1 or 10 positions apart: how much their weights diverge, beyond what their positions
    explain.

    ``detail`` of the model's finding holds the divergence itself, and whether the excess is another on shuffled tokens.

    Args:
        study: The study.
        claim: Registry name.
        lag: ``adjacent`` or ``distant``.
        source: Where the definition comes from.
    """
    margin = study.settings.margins.content
    excess, shuffled = (
        evidence.stacked(lag) - evidence.stacked(f"{lag}_by_position")
        for evidence in (study.observed, study.on_shuffled)
    )
    head_claim = HeadClaim(
        claim=claim,
        what=f"divergence from the query {'1' if lag == 'adjacent' else '10'} before, beyond position,",
        unit="nat",
        present_above=margin,
        absent_below=margin,
        source=source,
    )
    found = head_findings(study, head_claim, study.units(excess), content_null(study, f"{lag}{EXCESS}"))
    moved = study.first_units(mean_of(excess[: len(shuffled)] - shuffled, axis=1))
    order = sign_flip(moved, resamples=study.settings.resamples, seed=study.settings.seed)
    more = {
        "divergence": float(mean_of(study.observed.stacked(lag))),
        "shuffled_tokens": float(mean_of(shuffled)),
        "order_p": float(order.p),
    }
    return [with_detail(found[0], **more), *found[1:]]


def with_detail(finding: Finding, **more: float) -> Finding:
    """Return a copy of a finding with more numbers in ``detail``; non-finite numbers become None."""
    plain = {name: (value if math.isfinite(value) else None) for name, value in more.items()}
    return replace(finding, detail={**finding.detail, **plain})
