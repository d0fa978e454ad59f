"""Section 9: does the attention pattern depend on the text it was computed from?"""

from __future__ import annotations

from heedful.evaluation.ablation_judging import ablation_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = "paired loss difference in vivo, documents as units; used above 0.01 nats a token, unused within -0.01 to 0.01"


@check(
    section=9,
    source=SOURCE,
    meaning="If another text's pattern does as well, the weights do not depend on what was read.",
)
def own_text_matters(study: Study) -> list[Finding]:
    """Replacing a text's attention pattern by that of another document raises the loss."""
    return ablation_findings(study, "own_text_matters", "shuffled", SOURCE)
