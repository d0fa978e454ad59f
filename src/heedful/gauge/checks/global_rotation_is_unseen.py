"""Section 1: is attention invariant to a common rotation of all frames?"""

from __future__ import annotations

from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.gauge.evidence_rotated import SEQUENCES, rotated_layers
from heedful.inference.verdict import Verdict

SOURCE = "a rotation of 2.3 radians of all beliefs and frames; relative tolerance 1e-4, 1e-5 for the frames themselves"
CHANGE, ORTHOGONAL = 1e-4, 1e-5


@check(
    section=1,
    source=SOURCE,
    meaning="If a common rotation changes weights, the gauge model depends on an arbitrary choice of axes.",
)
def global_rotation_is_unseen(study: Study) -> list[Finding]:
    """A common rotation of all beliefs and frames rotates the outputs and changes no attention weight.

    Transport is flat with such frames: from k to j to i is from k to i. Skipped where no head has a frame.
    """
    layers = rotated_layers(study)
    if not layers:
        reason = "no attention module carries beliefs from frame to frame"
        return [Finding(claim="global_rotation_is_unseen", verdict=Verdict.SKIP, reason=reason, source=SOURCE)]
    known = [layer for layer in layers if layer.change == layer.change]
    if not known:
        reason = "no finite message was sent"
        return [Finding(claim="global_rotation_is_unseen", verdict=Verdict.UNDEFINED, reason=reason, source=SOURCE)]
    bad = [layer.path for layer in known if layer.change > CHANGE or layer.frames > ORTHOGONAL]
    change, frames = max(layer.change for layer in known), max(layer.frames for layer in known)
    summary = f"messages change by at most {change:.1e}, and frames are off a rotation by {frames:.1e}"
    return [
        Finding(
            claim="global_rotation_is_unseen",
            verdict=Verdict.FAIL if bad else Verdict.PASS,
            reason=f"{len(bad)} of {len(known)} layers see a rotation of everything: {', '.join(bad[:3])} ({summary})"
            if bad
            else f"{len(known)} layers: {summary}",
            estimate=change,
            unit="relative change",
            n=len(study.sequences.document[study.batches[0].index[:SEQUENCES]].unique()),
            null="exact: 0",
            threshold=CHANGE,
            source=SOURCE,
            detail={"layers": bad, "frames": frames},
        )
    ]
