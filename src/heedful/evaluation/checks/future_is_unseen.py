"""Section 1: does no token of a causal model depend on later tokens?"""

from __future__ import annotations

import numpy as np
import torch

from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

SOURCE = "definition of causality; by masks, by kernel rows and gradients (heedful check), by changing a later token"


def _by_contract(study: Study) -> str:
    """The first breach of direction by kernel rows or gradients, as ``heedful check`` tells it; empty where none is."""
    if isinstance(study.contract, str):
        return ""
    first = next((one for one in study.contract.broken if one.promise == "direction" and one.value == "causal"), None)
    return "" if first is None else f"{first.path or 'the whole model'}: {first.found}"


@check(
    section=1,
    source=SOURCE,
    meaning="A causal model that sees later tokens reads the answer it should predict; its loss then says nothing.",
)
def future_is_unseen(study: Study) -> list[Finding]:
    """No query sees a later key, and changing a later token changes no earlier output.

    Models that attend both ways are not judged unless the claim is required.
    """
    pairs = {layer.path: float(np.nansum(layer.values["visible_future"])) for layer in study.observed.layers}
    seeing = [path for path, count in pairs.items() if count]
    if not study.meant_causal:
        return [
            Finding(
                claim="future_is_unseen",
                verdict=Verdict.SKIP,
                reason=f"the model is bidirectional in {len(seeing)} of {len(pairs)} layers; "
                "the claim is for causal models",
                source=SOURCE,
            )
        ]
    parameter = next(study.model.parameters(), None)
    eps = torch.finfo(parameter.dtype).eps if parameter is not None else 1e-7
    limit = max(study.settings.margins.leak, eps)
    worst = max(study.leaks, key=lambda leak: leak.before)
    message = max(leak.after for leak in study.leaks)
    problems = []
    if seeing:
        problems.append(
            f"masks leave later keys visible in {len(seeing)} of {len(pairs)} layers ({', '.join(seeing[:3])})"
        )
    told_by_contract = _by_contract(study)
    if told_by_contract and not seeing:
        problems.append(told_by_contract)
    if worst.before > limit:
        problems.append(f"changing token {worst.position} moved earlier outputs by {worst.before:.2e} of the largest")
    passed = (
        f"no mask shows a later key, and changing later tokens moved earlier outputs by {worst.before:.1e}"
        if message
        else "no mask shows a later key; changing tokens moved no output at all, so only the masks speak"
    )
    return [
        Finding(
            claim="future_is_unseen",
            verdict=Verdict.FAIL if problems else Verdict.PASS,
            reason="; ".join(problems) or passed,
            estimate=worst.before,
            unit="relative change",
            n=study.n_documents,
            null="exact: 0",
            threshold=limit,
            source=SOURCE,
            detail={"positions": [leak.position for leak in study.leaks], "layers_that_see": seeing[:10]},
        )
    ]
