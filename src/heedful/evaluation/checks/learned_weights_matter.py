"""Section 9: does the learned pattern beat equal weights?"""

from __future__ import annotations

from heedful.evaluation.ablation_judging import ablation_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = "paired loss difference in vivo, documents as units; used above 0.01 nats a token, unused within -0.01 to 0.01"


@check(
    section=9,
    source=SOURCE,
    meaning="If equal weights do as well, the learned pattern is no better than averaging.",
)
def learned_weights_matter(study: Study) -> list[Finding]:
    """Equal weights on all visible keys raise the loss: the learned pattern does more than average the values."""
    return ablation_findings(study, "learned_weights_matter", "uniform", SOURCE)
