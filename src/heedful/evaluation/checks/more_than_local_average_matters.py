"""Section 9: does the learned pattern beat an average of the nearest keys?"""

from __future__ import annotations

from heedful.evaluation.ablation_judging import ablation_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = "paired loss difference in vivo, documents as units; used above 0.01 nats a token, unused within -0.01 to 0.01"


@check(
    section=9,
    source=SOURCE,
    meaning="If averaging the nearest tokens does as well, a short convolution could replace attention.",
)
def more_than_local_average_matters(study: Study) -> list[Finding]:
    """Replacing the learned weights by equal weights on the keys within 5 positions raises the loss."""
    return ablation_findings(study, "more_than_local_average_matters", "local", SOURCE)
