"""Section 3: do special tokens draw more than their share?"""

from __future__ import annotations

from heedful.core.registry import check
from heedful.core.result import Finding
from heedful.study import Study, group_mass_findings

SOURCE = "mass over uniform share on the same rows, as a log ratio; Clark et al. 2019, arXiv:1906.04341; margin 1.25"


@check(section=3, source=SOURCE)
def special_token_mass(study: Study) -> list[Finding]:
    """Special tokens (begin, end, class, separator) get more weight than uniform attention would give them."""
    return group_mass_findings(study, "special_token_mass", "special", "special tokens get", SOURCE)
