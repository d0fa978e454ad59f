"""Section 3: does any head find what followed the last copy of a token?"""

from __future__ import annotations

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

SOURCE = "Olsson et al. 2022, arXiv:2209.11895, on random tokens repeated with a random period each; strong above 0.4"


@check(section=3, source=SOURCE)
def induction(study: Study) -> list[Finding]:
    """Some head attends to the token after the earlier copy of the query's token, on random repeated sequences."""
    if not study.hides_future:
        return [
            Finding(
                claim="induction",
                verdict=Verdict.SKIP,
                reason="the model sees both ways: nothing to induce",
                source=SOURCE,
            )
        ]
    evidence = study.on_repeats
    if evidence is None:
        return [
            Finding(
                claim="induction",
                verdict=Verdict.SKIP,
                reason="sequences are too short, or have too few kinds of tokens, to repeat with a period of 8 or more",
                source=SOURCE,
            )
        ]
    margins = study.settings.margins
    claim = HeadClaim(
        claim="induction",
        what="mass on the token after the earlier copy",
        unit="mass",
        present_above=margins.pattern,
        absent_below=margins.pattern_partial,
        source=SOURCE,
        null_name="induction_mass",
        counted="random sequence",
    )
    return head_findings(study, claim, evidence.stacked("induction_mass"))  # random sequences: each a unit of its own
