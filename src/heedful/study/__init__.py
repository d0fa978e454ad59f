"""One model and its sequences in, the evidence that checks judge out."""

from heedful.study.ablation_judging import ablation_findings, redundant, signature_of
from heedful.study.cards import head_cards
from heedful.study.evidence import Evidence, LayerEvidence
from heedful.study.group_mass import group_mass_findings
from heedful.study.heads import could_be_selective, head_rows
from heedful.study.judging import HeadClaim, head_findings, overall_verdict
from heedful.study.lagged import lagged_queries, with_detail
from heedful.study.running import Batch, evaluating
from heedful.study.settings import Margins, Settings
from heedful.study.study import Study
from heedful.study.trial import try_model
from heedful.study.unit_values import document_fingerprints, first_unit_values, unit_values
from heedful.study.versions import versions

__all__ = [
    "Batch",
    "Evidence",
    "HeadClaim",
    "LayerEvidence",
    "Margins",
    "Settings",
    "Study",
    "ablation_findings",
    "could_be_selective",
    "document_fingerprints",
    "evaluating",
    "first_unit_values",
    "group_mass_findings",
    "head_cards",
    "head_findings",
    "head_rows",
    "lagged_queries",
    "overall_verdict",
    "redundant",
    "signature_of",
    "try_model",
    "unit_values",
    "versions",
    "with_detail",
]
