"""Section 9: which information does the model use attention for?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heedful.evaluation.ablation import ARMS
from heedful.evaluation.ablation_judging import left_whole, not_measured, redundant, signature_of
from heedful.evaluation.evidence import Array
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

SOURCE = (
    "signature of the arms: Hassid et al. 2022, arXiv:2211.03495 (mean pattern); "
    "Michel et al. 2019, arXiv:1905.10650 (redundancy)"
)


@check(
    section=9,
    source=SOURCE,
    descriptive=True,
    definition=2,
    meaning="Names the simplest replacement that does as well: the kind of work attention does in this model.",
)
def ablation_signature(study: Study) -> list[Finding]:
    """The model uses attention for positions, content, a value average or nothing, as judged by which replacements of
    attention raise the loss.

    Redundant besides, where equal weights cost something in the whole and nothing in any one part: the layers of the
    model (preset standard), the heads of a layer (preset full).
    """
    if study.objective.name == "none":
        return [_skipped(study.objective.reason)]
    if len(study.sequences.input_ids) < 2:
        return [_skipped("only one sequence: a paired comparison needs at least two")]
    if left := left_whole(study):
        return [_skipped(left)]
    if not study.settings.runs("standard"):
        return [_signature(study, study.whole_model, [])]
    layers = [arms["uniform"] for arms in study.each_layer]
    heads: list[list[Array | None]] = study.each_head if study.settings.runs("full") else [[] for _ in layers]
    each = zip(study.observed.replaceable, study.each_layer, heads, strict=True)
    return [
        _signature(study, study.whole_model, layers),
        *(
            _signature(study, arms, _if_all(alone), layer.layer)
            if len(arms) == len(ARMS)
            else not_measured("ablation_signature", SOURCE, layer.layer)
            for layer, arms, alone in each
        ),
    ]


def _if_all(alone: Sequence[Array | None]) -> list[Array]:
    """Differences of the parts, if all of them were measured."""
    found = [values for values in alone if values is not None]
    return found if len(found) == len(alone) else []


def _skipped(reason: str) -> Finding:
    return Finding(claim="ablation_signature", verdict=Verdict.SKIP, reason=reason, source=SOURCE)


def _signature(study: Study, arms: dict[str, Array], alone: list[Array], layer: int | None = None) -> Finding:
    name, reason = signature_of(study, arms)
    count = int(np.isfinite(study.first_units(arms["uniform"])).sum())
    if not name:
        return Finding(
            claim="ablation_signature",
            verdict=Verdict.INSUFFICIENT,
            reason=reason,
            n=count,
            source=SOURCE,
            layer=layer,
            detail={"signature": "too few documents", "redundant": False},
        )
    spare = bool(alone) and redundant(study, arms["uniform"], alone)
    part = "layer" if layer is None else "head"
    return Finding(
        claim="ablation_signature",
        verdict=Verdict.INFO,
        reason=f"{name}: {reason}" + (f"; redundant: no {part} alone costs anything" if spare else ""),
        n=count,
        source=SOURCE,
        layer=layer,
        detail={"signature": name, "redundant": spare},
    )
