"""Section 3: do tokens attend to earlier copies of themselves?"""

from __future__ import annotations

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = "2 x 2 log odds of same-token pairs against neighbours; row normalisers and key popularity cancel; margin 1.25"


@check(
    section=3,
    source=SOURCE,
    definition=2,
    meaning="If this holds, heads notice that a word has occurred before.",
)
def same_token_attraction(study: Study) -> list[Finding]:
    """A key with the query's own token gets more weight than its position and token frequency explain."""
    margin = study.settings.margins.log_odds
    claim = HeadClaim(
        claim="same_token_attraction",
        what="same tokens attract by",
        unit="log odds",
        present_above=margin,
        absent_below=margin,
        source=SOURCE,
        null_name="same_token",
        as_factor=True,
    )
    return head_findings(study, claim, study.units(study.observed.stacked("same_token")))
