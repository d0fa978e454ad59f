"""Section 9: does the model need attention that depends on content, not only on position?"""

from __future__ import annotations

from heedful.evaluation.ablation_judging import ablation_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = "paired loss difference in vivo, documents as units; used above 0.01 nats a token, unused within -0.01 to 0.01"


@check(
    section=9,
    source=SOURCE,
    definition=2,
    meaning="If a pattern of positions does as well, attention ignores what the words are.",
)
def more_than_position_matters(study: Study) -> list[Finding]:
    """Replacing the learned pattern by the mean pattern of other documents raises the loss."""
    return ablation_findings(study, "more_than_position_matters", "mean", SOURCE)
