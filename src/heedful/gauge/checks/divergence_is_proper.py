"""Section 1: does the kernel compute the KL divergences of beliefs correctly?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heedful.evaluation.evidence import Array, LayerEvidence
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.units import largest_of
from heedful.inference.verdict import Verdict

SOURCE = (
    "KL of two normals by torch.distributions in float64 on sampled pairs; tolerance 1e-5 nats, or four unit roundoffs "
    "of the product's terms"
)


@check(
    section=1,
    source=SOURCE,
    meaning="A divergence below 0 is no divergence: the gauge model's logits would not mean what they claim.",
)
def divergence_is_proper(study: Study) -> list[Finding]:
    """The kernel's logits match the KL divergences of beliefs, which are never negative and are 0 from a belief to
    itself.

    Nothing is clamped before it is looked at. Attention that has no beliefs is skipped.
    """
    layers = [layer for layer in study.observed.layers if "divergence_error" in layer.values]
    if not layers:
        reason = "no attention module attends by the divergence of beliefs"
        return [Finding(claim="divergence_is_proper", verdict=Verdict.SKIP, reason=reason, source=SOURCE)]
    worst = {layer.path: _excess(layer) for layer in layers}
    known = {path: value for path, value in worst.items() if value == value}
    if not known:
        reason = "no pair of beliefs has a finite divergence"
        return [Finding(claim="divergence_is_proper", verdict=Verdict.UNDEFINED, reason=reason, source=SOURCE)]
    bad = [path for path, value in known.items() if value > 1]
    sides = ("divergence_error", 1), ("self_divergence", 1), ("least_divergence", -1)
    largest, itself, below = (max(_known(layers, name, sign), default=0.0) for name, sign in sides)
    message = f"off by at most {largest:.1e} nats, {itself:.1e} of a belief from itself, least {-below:.1e}"
    return [
        Finding(
            claim="divergence_is_proper",
            verdict=Verdict.FAIL if bad else Verdict.PASS,
            reason=f"{len(bad)} of {len(known)} layers are off by more than rounding: {', '.join(bad[:3])} ({message})"
            if bad
            else f"{len(known)} layers: {message}",
            estimate=max(known.values()),
            unit="of the tolerance",
            n=_documents(study, layers[0]),
            null="exact: the divergence of the pair in float64",
            threshold=1.0,
            source=SOURCE,
            detail={"layers": bad, "error": largest, "self": itself, "least": -below},
        )
    ]


def _documents(study: Study, layer: LayerEvidence) -> int:
    """Documents that pairs were taken from."""
    looked = np.isfinite(layer.values["divergence_limit"]).any(axis=1)
    return len(np.unique(study.sequences.document.numpy()[looked]))


def _known(layers: Sequence[LayerEvidence], name: str, sign: int) -> list[float]:
    return [value for layer in layers if (value := largest_of(sign * layer.values[name])) == value]


def _excess(layer: LayerEvidence) -> float:
    """Largest of a layer's errors, as multiples of what rounding explains."""
    limit: Array = layer.values["divergence_limit"]
    sides = [layer.values["divergence_error"], layer.values["self_divergence"], -layer.values["least_divergence"]]
    return largest_of(np.stack([side / limit for side in sides]))
