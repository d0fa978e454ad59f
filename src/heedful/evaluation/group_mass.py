"""Test whether a token group, such as punctuation, gets more weight than under uniform attention."""

from __future__ import annotations

import numpy as np

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict


def group_mass_findings(study: Study, claim: str, group: str, words: str, source: str) -> list[Finding]:
    """Return findings on one token group: ln(attention mass of the group / mass under uniform attention).

    Args:
        study: The study.
        claim: Registry name.
        group: ``special`` or ``punctuation``: the arrays ``{group}_mass`` and ``{group}_share`` of the evidence.
        words: The group in words, with its verb ("punctuation gets").
        source: Where definition and margin come from.
    """
    if not study.observed.has(f"{group}_mass") or np.isnan(study.observed.stacked(f"{group}_mass")).all():
        reason = f"the sequences hold no {group} token that a query could see"
        return [Finding(claim=claim, verdict=Verdict.SKIP, reason=reason, source=source)]
    mass, share = study.observed.stacked(f"{group}_mass"), study.observed.stacked(f"{group}_share")
    margin = study.settings.margins.share_log
    head_claim = HeadClaim(
        claim=claim,
        what=words,
        unit="log ratio",
        present_above=margin,
        absent_below=margin,
        source=source,
        as_factor=True,
        of="the uniform share",
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(np.clip(mass, 1e-12, None) / share)
    return head_findings(study, head_claim, study.units(ratio), null="0 is uniform attention over the same rows")
