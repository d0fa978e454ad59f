"""Section 3: does punctuation get more weight than uniform attention would give it?"""

from __future__ import annotations

from heedful.evaluation.group_mass import group_mass_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = "mass over uniform share on the same rows, as a log ratio; Clark et al. 2019, arXiv:1906.04341; margin 1.25"


@check(
    section=3,
    source=SOURCE,
    definition=2,
    meaning="Weight on punctuation beyond its share can be a sink, or heads that read clause by clause.",
)
def punctuation_mass(study: Study) -> list[Finding]:
    """Punctuation tokens get more weight than uniform attention would give them."""
    return group_mass_findings(study, "punctuation_mass", "punctuation", "punctuation gets", SOURCE)
