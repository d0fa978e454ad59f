"""Test whether a recomputed output agrees with the module's own, within the rounding of the dtype."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heedful.attention.engines.moments import Moments
from heedful.interception.event import AttentionEvent

KEEPS_LOGITS = ("sdpa", "flash", "flex", "scaled_dot_product", "softmax")
"""Ways in whose logits are not rounded between the captured call and the softmax: fused kernels hold them in float32,
and a watched softmax hands over the rounded ones."""

LEAST = 1e-4
"""Kernels of float32 sum in other orders, over any number of keys."""


def tolerance(dtype: torch.dtype, logits: float = 0.0) -> float:
    r"""Return the largest difference, relative to a head's largest output, that rounding explains.

    Weights and outputs are rounded once each, by :math:`\epsilon / 2` of themselves at most; the output is a mean of
    values, so both together stay within :math:`\epsilon`, and twice that is allowed. A kernel that also rounds its
    logits moves each by :math:`\epsilon l / 2` for logits up to :math:`l`; with two keys
    :math:`|\delta w| \le w (1 - w) \epsilon l \le \epsilon l / 4`, times values that differ by twice the largest.

    Args:
        dtype: Number format of the kernel's output.
        logits: Size of the logits that the kernel rounds; 0 where it rounds none.
    """
    return max((2 + logits / 2) * torch.finfo(dtype).eps, LEAST)


def limit_of(event: AttentionEvent, moments: Moments, output: Tensor) -> float:
    """Return the rounding tolerance for one attention call."""
    kept = any(name in event.way for name in KEEPS_LOGITS)
    return tolerance(output.dtype, 0.0 if kept else logit_size(moments))


def logit_size(moments: Moments) -> float:
    """Return the size of a call's logits, on which rounding errors depend: the largest |top logit| or |mean logit| of
    any row.
    """
    rows = moments.rows
    top, mean = rows.logsumexp + rows.max_weight.log(), rows.logsumexp - rows.entropy
    sizes = torch.stack([top, mean]).abs().nan_to_num(0, 0, 0)
    return float(sizes.max()) if sizes.numel() else 0.0


def output_error(moments: Moments, output: Tensor) -> float:
    """Return the largest difference of kernel and recomputed output, relative to the largest output of its head.

    Rows that see no key are left out: kernels put 0, a mean or NaN there. A head that puts out nothing is compared with
    the largest output of all.

    Returns:
        Relative error; infinite where only one of the two is finite, NaN without values.
    """
    if moments.output is None:
        return math.nan
    ours, theirs = moments.output, output.to(moments.output.dtype)
    if moments.rows.none_empty or int(moments.rows.visible.min()) > 0:
        sizes, differences = theirs.abs().amax((0, 2, 3)).tolist(), (ours - theirs).abs_().amax((0, 2, 3)).tolist()
        if all(map(math.isfinite, (*sizes, *differences))):
            return _relative(sizes, differences)
    seen = (moments.rows.visible > 0)[..., None]
    both = torch.isfinite(ours) == torch.isfinite(theirs)
    if not bool((both | ~seen).all()):
        return math.inf
    return _relative(_largest(theirs, seen).tolist(), _largest(ours - theirs, seen).tolist())


def _relative(sizes: list[float], differences: list[float]) -> float:
    """Largest difference of a head over its size: that of the largest head where it has none, 1 where none has."""
    most = max(sizes)
    return max(change / (size or most or 1.0) for size, change in zip(sizes, differences, strict=True))


def _largest(values: Tensor, seen: Tensor) -> Tensor:
    """Largest size in each head, ``(head,)``."""
    return (values.nan_to_num(0, 0, 0) * seen).abs().amax(dim=(0, 2, 3))
