"""Prove the capture of each attention module: recompute its output, and verify that a replacement reaches the model.

The first proof is of the forward whose kernels are judged. The second is a gradient of that forward in which the stream
is cut; where that shows nothing (saturated weights, no gradient at all), the module's output is taken away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from heedful.contract.kernels import KernelJudge
from heedful.contract.record import CaptureProof
from heedful.contract.running import main_tensor
from heedful.errors import HeedfulError
from heedful.interception.replace import replace

LIMIT = 16
"""Machine epsilons by which an output must move where a module's attention is taken away."""


def capture_proofs(
    run: Any,
    keywords: Mapping[str, Any],
    judge: KernelJudge,
    way: Any,
    reached: set[str],
    *,
    output: Any = None,
) -> list[CaptureProof]:
    """Return one proof per module: captured modules in call order, then the others.

    Args:
        run: Runs the model.
        keywords: The batch.
        judge: What was seen of each module's calls.
        way: What the interception knows of modules that were not captured.
        reached: Modules of which a gradient showed that their output reaches the model's.
        output: The model's own output, where others are to be taken away; None asks for no replacement.
    """
    missing = way.not_captured()
    proofs = []
    for path, one in judge.captured.items():
        reasons = [] if math.isnan(one.error) or one.agrees else [f"recomputed output differs by {one.error:.1e}"]
        if math.isnan(one.error):
            reasons.append("no values were seen")
        replaced, moved = path in reached, math.nan
        if not replaced and output is not None:
            moved, reason = _taken_away(run, keywords, path, output)
            replaced = not reason
            reasons += [reason] if reason else []
        proofs.append(
            CaptureProof(
                path=path,
                way=one.way,
                heads=one.heads,
                error=one.error,
                recomputed=one.agrees and not math.isnan(one.error) and path not in missing,
                moved=moved,
                replaced=replaced,
                reason=missing.get(path, "; ".join(reasons)),
                note=way.notes.get(one.way, ""),
            )
        )
    return proofs + [CaptureProof(path=path, reason=why) for path, why in missing.items() if path not in judge.captured]


def _taken_away(run: Any, keywords: Mapping[str, Any], path: str, output: Any) -> tuple[float, str]:
    """How far the model's output moves without one module's attention, and why that proves nothing."""
    try:
        before = main_tensor(output)
        with replace(run.model, "zero", layers=[path]), torch.no_grad():
            after = main_tensor(run(keywords))
    except HeedfulError as refused:
        return math.nan, str(refused)
    if after.shape != before.shape:
        return math.inf, ""
    moved = _change(before.float(), after.float())
    message = "" if moved > LIMIT * torch.finfo(before.dtype).eps else "the model's output does not change without it"
    return moved, message


def _change(one: Tensor, other: Tensor) -> float:
    size = one.abs().nan_to_num(0, 0, 0).max().clamp_min(torch.finfo(one.dtype).tiny)
    return float((one - other).abs().nan_to_num(0, 0, 0).max() / size)
