"""Section 1: do the model's own weights sum to one?"""

from __future__ import annotations

import torch

from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.units import largest_of
from heedful.inference.verdict import Verdict

SOURCE = "definition of softmax; tolerance four unit roundoffs of the dtype, at least 1e-5"


def tolerance(dtype: torch.dtype) -> float:
    """Return the largest deviation of a row sum from 1 that rounding in ``dtype`` explains."""
    return max(2 * torch.finfo(dtype).eps, 1e-5)


@check(
    section=1,
    source=SOURCE,
    meaning="Weights that sum to one make each output an average of values; other sums silently rescale the output.",
)
def rows_sum_to_one(study: Study) -> list[Finding]:
    """For each query, the attention weights from the model's own kernel sum to one, or to one minus the share of a
    learned sink.

    The model's own kernel is run once more with values of one, so that its output is the row sum.
    """
    layers = [layer for layer in study.observed.layers if "row_sum_error" in layer.values]
    if not layers:
        return [
            Finding(claim="rows_sum_to_one", verdict=Verdict.SKIP, reason="no kernel could be run again", source=SOURCE)
        ]
    worst = [(error, layer) for layer in layers if (error := largest_of(layer.values["row_sum_error"])) >= 0]
    if not worst:
        return [
            Finding(
                claim="rows_sum_to_one",
                verdict=Verdict.UNDEFINED,
                reason="no row with finite weights was measured",
                source=SOURCE,
            )
        ]
    parameter = next(study.model.parameters(), None)
    limit = tolerance(parameter.dtype if parameter is not None else torch.float32)
    bad = [(error, layer) for error, layer in worst if error > limit]
    largest = max(error for error, _ in worst)
    where = ", ".join(layer.path for _, layer in bad[:3])
    return [
        Finding(
            claim="rows_sum_to_one",
            verdict=Verdict.FAIL if bad else Verdict.PASS,
            reason=f"{len(bad)} of {len(worst)} layers are off by more than rounding: {where}"
            if bad
            else f"every row of {len(worst)} of {len(study.observed.layers)} layers sums to 1 within {largest:.1e}",
            estimate=largest,
            unit="mass",
            n=study.n_documents,
            null="exact: 1",
            threshold=limit,
            source=SOURCE,
            detail={"layers": [layer.path for _, layer in bad]},
        )
    ]
