"""Section 3: does any head attend to the token that followed an earlier copy of the query's token?"""

from __future__ import annotations

from dataclasses import replace

from heedful.evaluation.judging import HeadClaim, head_findings
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.mean_interval import SHARE
from heedful.inference.verdict import Verdict

SOURCE = (
    "Olsson et al. 2022, arXiv:2209.11895: all keys that follow an earlier occurrence of the query's token, on random "
    "tokens repeated with a random period each; strong above 0.4"
)


@check(
    section=3,
    source=SOURCE,
    definition=2,
    meaning="Induction heads let a model continue a pattern it has seen once in its context.",
)
def induction(study: Study) -> list[Finding]:
    """On repeated random sequences, some head attends to the tokens that followed earlier copies of the query's token.

    The mass is that of ``session.heads()`` with tokens for groups, of the head table and of the null models: all
    copies count. ``detail`` tells the periods and copies of the repeats.
    """
    if not study.hides_future:
        return [
            Finding(
                claim="induction",
                verdict=Verdict.SKIP,
                reason="the model is bidirectional, so induction is not defined",
                source=SOURCE,
            )
        ]
    evidence = study.on_repeats
    if evidence is None:
        return [
            Finding(
                claim="induction",
                verdict=Verdict.SKIP,
                reason="sequences are too short, or have too few kinds of tokens, to repeat with a period of "
                f"{study.settings.repeat_periods[0]} or more",
                source=SOURCE,
            )
        ]
    margins = study.settings.margins
    claim = HeadClaim(
        claim="induction",
        what="mass on the tokens after earlier copies",
        unit="mass",
        present_above=margins.pattern,
        absent_below=margins.pattern_partial,
        source=SOURCE,
        null_name="induction_mass",
        within=SHARE,
        counted="random sequence",
    )
    found = head_findings(study, claim, evidence.stacked("induction_mass"))  # random sequences: each a unit of its own
    repeats = study.repeats
    if repeats is None:
        return found
    facts = {"periods": [int(repeats.periods.min()), int(repeats.periods.max())]}
    facts["copies"] = [int(repeats.copies.min()), int(repeats.copies.max())]
    whole = replace(found[0], reason=f"{found[0].reason}; {repeats.description}", detail={**found[0].detail, **facts})
    return [whole, *found[1:]]
