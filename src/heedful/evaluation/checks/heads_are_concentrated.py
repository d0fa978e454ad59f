"""Section 4: is any head more concentrated than uniform attention by more than the margin, and more concentrated than
untrained heads?
"""

from __future__ import annotations

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = (
    "nats from uniform over visible keys, geometric mean over documents; margin 0.05, just above untrained GPT-2 small"
)


@check(
    section=4,
    source=SOURCE,
    definition=2,
    meaning="If no head is further from uniform than chance, attention only averages and has learned no selection.",
)
def heads_are_concentrated(study: Study) -> list[Finding]:
    """Some heads are more concentrated than uniform attention by more than 0.05 nats, and more concentrated than
    untrained heads.
    """
    margin = study.settings.margins.diffuse
    claim = HeadClaim(
        claim="heads_are_concentrated",
        what="concentration",
        unit="nat",
        present_above=margin,
        absent_below=margin,
        source=SOURCE,
        null_name="concentration",
        as_log=True,
    )
    return head_findings(study, claim, study.units(study.observed.stacked("concentration")))
