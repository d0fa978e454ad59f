"""Section 9: does the model need the output of attention?"""

from __future__ import annotations

from heedful.evaluation.ablation_judging import ablation_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = "paired loss difference in vivo, documents as units; used above 0.01 nats a token, unused within -0.01 to 0.01"


@check(
    section=9,
    source=SOURCE,
    meaning="If removing attention costs nothing, the model predicts each token without its context.",
)
def attention_output_matters(study: Study) -> list[Finding]:
    """Removing the output of attention altogether raises the loss; if not, attention is unused."""
    return ablation_findings(study, "attention_output_matters", "zero", SOURCE)
