"""Section 2: does any head attend to the previous token?"""

from __future__ import annotations

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.mean_interval import SHARE

SOURCE = "Olsson et al. 2022, arXiv:2209.11895; strong above 0.4, partial above 0.2"


@check(
    section=2,
    source=SOURCE,
    definition=2,
    meaning="A head that copies from the token before is the first half of the circuit that repeats patterns.",
)
def previous_token(study: Study) -> list[Finding]:
    """Some head places most of its weight on the position before the query."""
    margins = study.settings.margins
    claim = HeadClaim(
        claim="previous_token",
        what="mass on the previous token",
        unit="mass",
        present_above=margins.pattern,
        absent_below=margins.pattern_partial,
        source=SOURCE,
        null_name="previous_mass",
        within=SHARE,
    )
    return head_findings(study, claim, study.units(study.observed.stacked("previous_mass")))
