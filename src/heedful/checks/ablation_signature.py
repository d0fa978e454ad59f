"""Section 9: what kind of work does attention do?"""

from __future__ import annotations

from heedful.core.registry import check
from heedful.core.result import Finding, Verdict
from heedful.study import Study, signature_of

SOURCE = "signature of the arms: Hassid et al. 2022, arXiv:2211.03495 (mean pattern); Michel et al. 2019, arXiv:1905.10650 (redundancy)"


@check(section=9, source=SOURCE)
def ablation_signature(study: Study) -> list[Finding]:
    """Positional, content, value average or unused, by which replacements the loss forgives; per layer in preset standard."""
    if study.objective.name == "none":
        return [Finding(claim="ablation_signature", verdict=Verdict.SKIP, reason=study.objective.reason, source=SOURCE)]
    name, reason = signature_of(study, study.whole_model)
    found = [
        Finding(
            claim="ablation_signature",
            verdict=Verdict.INFO,
            reason=f"{name}: {reason}",
            n=study.n_documents,
            source=SOURCE,
            detail={"signature": name},
        )
    ]
    if not study.settings.runs("standard"):
        return found
    for layer, arms in zip(study.observed.layers, study.each_layer, strict=True):
        name, reason = signature_of(study, arms)
        found.append(
            Finding(
                claim="ablation_signature",
                verdict=Verdict.INFO,
                reason=f"{name}: {reason}",
                n=study.n_documents,
                source=SOURCE,
                layer=layer.layer,
                detail={"signature": name},
            )
        )
    return found
