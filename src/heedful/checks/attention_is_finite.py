"""Section 1: are parameters, logits and weights finite?"""

from __future__ import annotations

import numpy as np

from heedful.core.registry import check
from heedful.core.result import Finding, Verdict
from heedful.study import Study

SOURCE = "IEEE 754; one NaN in a row makes all of its weights NaN"


@check(section=1, source=SOURCE)
def attention_is_finite(study: Study) -> list[Finding]:
    """No parameter, logit or weight is NaN or infinite."""
    broken = study.nonfinite_parameters
    if broken:
        return [_parameters(broken)]
    found = _heads(study)
    names = ", ".join(f"L{f.layer}H{f.head}" for f in found[:6])
    overall = Finding(
        claim="attention_is_finite",
        verdict=Verdict.FAIL if found else Verdict.PASS,
        reason=f"non-finite rows in {len(found)} heads: {names}; overflow? retry with --dtype float32"
        if found
        else "every parameter and every row is finite",
        estimate=sum(f.estimate or 0.0 for f in found),
        unit="rows",
        n=study.n_documents,
        null="exact: 0",
        threshold=0.0,
        source=SOURCE,
    )
    return [overall, *found]


def _parameters(broken: dict[str, int]) -> Finding:
    """What is to be said of parameters with so many non-finite entries each."""
    shown = ", ".join(f"{name} ({count})" for name, count in list(broken.items())[:3])
    return Finding(
        claim="attention_is_finite",
        verdict=Verdict.FAIL,
        reason=f"non-finite parameters in {len(broken)} tensors: {shown}",
        estimate=float(sum(broken.values())),
        unit="entries",
        null="exact: 0",
        threshold=0.0,
        source=SOURCE,
        detail={"parameters": dict(list(broken.items())[:10])},
    )


def _heads(study: Study) -> list[Finding]:
    """One finding for each head with rows that are not finite."""
    return [
        Finding(
            claim="attention_is_finite",
            verdict=Verdict.ERROR,
            reason=f"{int(count)} rows of L{layer.layer}H{head} are not finite: overflow? try --dtype float32",
            estimate=float(count),
            unit="rows",
            n=study.n_documents,
            threshold=0.0,
            source=SOURCE,
            layer=layer.layer,
            head=head,
        )
        for layer in study.observed.layers
        for head, count in enumerate(np.nansum(layer.values["nonfinite_rows"], axis=0))
        if count
    ]
