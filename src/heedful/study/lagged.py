"""Whether a query's weights differ from those of a query some positions before, over the keys that both see."""

from __future__ import annotations

import math
from dataclasses import replace

from heedful.core.result import Finding
from heedful.inference import sign_flip
from heedful.study.against import shuffled_tokens
from heedful.study.judging import HeadClaim, head_findings
from heedful.study.missing import mean_of
from heedful.study.study import Study


def lagged_queries(study: Study, claim: str, lag: str, source: str) -> list[Finding]:
    """Findings for one lag: above the margin, and unlike the same divergence on shuffled tokens.

    Args:
        study: The study.
        claim: Registry name.
        lag: ``adjacent`` or ``distant``.
        source: Where the definition comes from.
    """
    margin = study.settings.margins.content
    values, shuffled = study.observed.stacked(lag), study.on_shuffled.stacked(lag)
    head_claim = HeadClaim(
        claim=claim,
        what=f"divergence from the query {'1' if lag == 'adjacent' else '10'} before",
        unit="nat",
        present_above=margin,
        absent_below=margin,
        source=source,
    )
    beside = float(mean_of(shuffled))
    against = shuffled_tokens(
        study, study.units(values - shuffled), f"shuffled tokens, mean over heads {beside:.3g} nat"
    )
    found = head_findings(study, head_claim, study.units(values), against)
    difference = study.units(mean_of(values - shuffled, axis=1))
    test = sign_flip(difference, resamples=study.settings.resamples, seed=study.settings.seed)
    return [with_detail(found[0], shuffled_tokens=beside, order_p=float(test.p)), *found[1:]]


def with_detail(finding: Finding, **more: float) -> Finding:
    """The same finding with further numbers; those that are not finite become None."""
    plain = {name: (value if math.isfinite(value) else None) for name, value in more.items()}
    return replace(finding, detail={**finding.detail, **plain})
