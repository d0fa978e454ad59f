"""Section 2: do near keys get more weight than far ones?"""

from __future__ import annotations

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = "log contrast of weights 1-5 positions away against further ones, row by row; margin: a factor of 1.25"


@check(
    section=2,
    source=SOURCE,
    definition=2,
    meaning="Near keys outweigh far ones. This is normal in text; a model without it reads near and far alike.",
)
def local_bias(study: Study) -> list[Finding]:
    """Keys 1 to 5 positions away get more weight than keys further away, by the mean log ratio within rows.

    Row normalisers cancel, own and first key are left out, so that neither short rows nor sinks look local.
    """
    margin = study.settings.margins.log_odds
    claim = HeadClaim(
        claim="local_bias",
        what="near keys outweigh far ones by",
        unit="log ratio",
        present_above=margin,
        absent_below=margin,
        source=SOURCE,
        null_name="log_contrast",
        as_factor=True,
    )
    return head_findings(study, claim, study.units(study.observed.stacked("log_contrast")))
