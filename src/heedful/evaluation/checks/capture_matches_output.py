"""Section 1: do the captured queries, keys, values and masks reproduce the module's output?"""

from __future__ import annotations

import numpy as np

from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.units import largest_of
from heedful.inference.verdict import Verdict

SOURCE = "recomputed output against the module's own, relative to its head's largest output"


@check(
    section=1,
    source=SOURCE,
    meaning="If this holds, the weights measured here are the ones your model really used.",
)
def capture_matches_output(study: Study) -> list[Finding]:
    """The output recomputed from the captured tensors equals the module's own, so the statistics are those of the real
    weights.
    """
    layers = study.observed.layers
    errors = {layer.path: largest_of(layer.values["output_error"]) for layer in layers}
    limits = {layer.path: largest_of(layer.values["output_limit"]) for layer in layers}
    bad = [path for path, error in errors.items() if not error <= limits[path]]
    worst = largest_of(np.array([*errors.values()]))
    return [
        Finding(
            claim="capture_matches_output",
            verdict=Verdict.WARN if bad else Verdict.PASS,
            reason=f"{len(bad)} of {len(errors)} layers have outputs that differ from those of their captured calls "
            f"({', '.join(bad[:3])}): their statistics describe the call, not the kernel"
            if bad
            else f"recomputed outputs of {len(errors)} layers agree within {worst:.1e}",
            estimate=worst,
            unit="relative error",
            n=study.n_documents,
            null="exact: 0",
            threshold=max(limits.values()),
            source=SOURCE,
        )
    ]
