"""Section 3: do special tokens get more weight than uniform attention would give them?"""

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
    meaning="Weight on begin, end or separator tokens often means that a head has nothing to read.",
)
def special_token_mass(study: Study) -> list[Finding]:
    """Special tokens (begin, end, class, separator) get more weight than uniform attention would give them."""
    return group_mass_findings(study, "special_token_mass", "special", "special tokens get", SOURCE)
