"""Section 1: are parameters, logits and weights finite?"""

from __future__ import annotations

import numpy as np

from heedful.evaluation.evidence import LayerEvidence
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

SOURCE = "IEEE 754; one NaN in a row makes all of its weights NaN"

RETRY = "retry with --dtype float32"


@check(
    section=1,
    source=SOURCE,
    meaning="One NaN or infinity spreads to every later layer; nothing computed after it can be trusted.",
)
def attention_is_finite(study: Study) -> list[Finding]:
    """No parameter, logit or weight is NaN or infinite."""
    broken = study.nonfinite_parameters
    if broken:
        return [_parameters(broken)]
    found = _heads(study)
    wide = _products(study)
    return [
        Finding(
            claim="attention_is_finite",
            verdict=Verdict.FAIL if found else Verdict.WARN if wide else Verdict.PASS,
            reason=_in_words(study, found, wide),
            estimate=sum(f.estimate or 0.0 for f in found),
            unit="rows",
            n=study.n_documents,
            null="exact: 0",
            threshold=0.0,
            source=SOURCE,
            detail={"overflow": [_place(f) for f in found if f.detail["overflow"]], "wide_products": wide},
        ),
        *found,
    ]


def _in_words(study: Study, found: list[Finding], wide: list[str]) -> str:
    over, others = ([_place(f) for f in found if bool(f.detail["overflow"]) is which] for which in (True, False))
    parts = []
    if over:
        parts.append(f"{_format(study)} overflow in {len(over)} heads: {', '.join(over[:6])}: {RETRY}")
    if others:
        parts.append(f"non-finite rows in {len(others)} {'further ' if over else ''}heads: {', '.join(others[:6])}")
    if not found and wide:
        parts.append(
            f"every row is finite, but products of query and key are beyond {_format(study)} before they are scaled in "
            f"{len(wide)} heads: {', '.join(wide[:6])}: a kernel that holds them gives NaN; {RETRY}"
        )
    return "; ".join(parts) or "every parameter and every row is finite"


def _products(study: Study) -> list[str]:
    """Heads whose products of query and key are beyond the number format though their rows are not."""
    return [
        f"L{layer.layer}H{head}"
        for layer in study.observed.layers
        for head, count in enumerate(np.nansum(layer.values["overflowing_products"], axis=0))
        if count
    ]


def _place(finding: Finding) -> str:
    return f"L{finding.layer}H{finding.head}"


def _format(study: Study) -> str:
    parameter = next(study.model.parameters(), None)
    return str(parameter.dtype).removeprefix("torch.") if parameter is not None else "number format"


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
        _head(study, layer, head, int(count))
        for layer in study.observed.layers
        for head, count in enumerate(np.nansum(layer.values["nonfinite_rows"], axis=0))
        if count
    ]


def _head(study: Study, layer: LayerEvidence, head: int, count: int) -> Finding:
    over = int(np.nansum(layer.values["overflowing_rows"][:, head]))
    place = f"L{layer.layer}H{head}"
    why = f": {_format(study)} overflow in {over} of them, {RETRY}" if over else ": look at what enters this layer"
    return Finding(
        claim="attention_is_finite",
        verdict=Verdict.ERROR,
        reason=f"{count} rows of {place} are not finite{why}",
        estimate=float(count),
        unit="rows",
        n=study.n_documents,
        threshold=0.0,
        source=SOURCE,
        layer=layer.layer,
        head=head,
        detail={"overflow": over},
    )
