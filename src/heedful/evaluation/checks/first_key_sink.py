"""Section 2: does the first key get weight whatever token it is?"""

from __future__ import annotations

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.mean_interval import SHARE

SOURCE = "Xiao et al. 2023, arXiv:2309.17453; epsilon 0.3 of Gu et al. 2024, arXiv:2410.10781"


@check(
    section=2,
    source=SOURCE,
    definition=2,
    meaning="A sink parks weight where it does little. It is common, and keys must not be dropped there in a cache.",
)
def first_key_sink(study: Study) -> list[Finding]:
    """Some head puts much of its weight on the first key of the sequence: an attention sink."""
    margin = study.settings.margins.sink
    claim = HeadClaim(
        claim="first_key_sink",
        what="mass on the first key",
        unit="mass",
        present_above=margin,
        absent_below=margin,
        source=SOURCE,
        null_name="sink_mass",
        within=SHARE,
    )
    return head_findings(study, claim, study.units(study.observed.stacked("sink_mass")))
