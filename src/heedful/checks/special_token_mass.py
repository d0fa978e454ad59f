"""Section 3: do special tokens draw more than their share?"""

from __future__ import annotations

import numpy as np

from heedful.core.registry import check
from heedful.core.result import Finding, Verdict
from heedful.study import HeadClaim, Study, head_findings

SOURCE = "mass over uniform share on the same rows, as a log ratio; Clark et al. 2019, arXiv:1906.04341; margin 1.25"


@check(section=3, source=SOURCE)
def special_token_mass(study: Study) -> list[Finding]:
    """Special tokens (begin, end, class, separator) get more weight than uniform attention would give them."""
    if not study.observed.has("special_mass") or np.isnan(study.observed.stacked("special_mass")).all():
        return [
            Finding(
                claim="special_token_mass",
                verdict=Verdict.SKIP,
                reason="the sequences hold no special token that a query could see",
                source=SOURCE,
            )
        ]
    mass, share = study.observed.stacked("special_mass"), study.observed.stacked("special_share")
    margin = study.settings.margins.share_log
    claim = HeadClaim(
        claim="special_token_mass",
        what="special tokens get, over their uniform share,",
        unit="log ratio",
        present_above=margin,
        absent_below=margin,
        source=SOURCE,
        as_factor=True,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(np.clip(mass, 1e-12, None) / share)
    return head_findings(study, claim, study.units(ratio), null="0 is uniform attention over the same rows")
