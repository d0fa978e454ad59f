"""The public door of the engine: tensors in, moments out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense
from heedful.attention.engines.fused import fused
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras, Moments
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import Visibility, causal
from heedful.errors import CallError, UsageError

ENGINES: dict[str, Callable[[AttentionCall, Extras | None], Moments]] = {
    "dense": dense,
    "tiled": tiled,
    "fused": fused,
}
"""Engines by name. ``auto`` takes ``tiled``, which can do every call; a named one never gives way to another."""


def measure(
    query: Tensor,
    key: Tensor,
    value: Tensor | None = None,
    *,
    visibility: Visibility | None = None,
    scale: float | None = None,
    bias: Tensor | None = None,
    engine: str = "auto",
    extras: Extras | None = None,
    groups: Groups | None = None,
) -> Moments:
    r"""Exact moments of attention weights, without the ``(query, key)`` array.

    .. math:: A_{ij} = \exp(s\, q_i \cdot k_j + b_{ij} - Z_i) \quad\text{over the visible keys } j

    Args:
        query: ``(batch, head, query, dim)``.
        key: ``(batch, kv_head, key, dim)``; the heads are a multiple of the key heads.
        value: ``(batch, kv_head, key, value_dim)``, or None for moments without output.
        visibility: Which keys a query sees; None means ``heedful.causal()``.
        scale: Factor of the dot products; None means ``dim ** -0.5``.
        bias: Finite additive term, broadcastable to ``(batch, head, query, key)``.
        engine: ``dense`` (float64, materialised), ``tiled`` (query blocks), ``fused`` (stock kernels and their
            log-sum-exp; maximum weight up to ``log(n) / 512`` too large), or ``auto``, which is ``tiled``.
        extras: Further moments wanted.
        groups: Labels of keys whose masses are wanted: short for ``Extras(groups=...)``.

    Returns:
        Moments: ``rows`` of shape ``(batch, head, query)``, ``keys`` of shape ``(batch, head, key)``, ``output``.

    Raises:
        CallError: The tensors do not fit together, or scale or bias is not finite.
        UnsupportedByEngine: The engine asked for by name cannot do this call.
        UsageError: The engine is unknown, or groups are given twice.
    """
    if engine != "auto" and engine not in ENGINES:
        raise UsageError(f"engine: expected one of auto, {', '.join(ENGINES)}; got {engine!r}")
    if groups is not None:
        if extras is not None and extras.groups is not None:
            raise UsageError("groups: expected them once, got groups= and extras.groups; leave one out")
        extras = replace(extras or Extras(), groups=groups)
    if scale is not None and not math.isfinite(scale):
        raise CallError(f"scale: expected a finite number, got {scale}")
    if bias is not None and not bool(torch.isfinite(bias).all()):
        raise CallError(
            "bias: expected finite numbers, got infinite or NaN ones; "
            "hide keys by visibility=heedful.masked(bias > -inf)"
        )
    call = AttentionCall(
        query=query,
        key=key,
        value=value,
        visibility=causal() if visibility is None else visibility,
        scale=math.nan if scale is None else float(scale),
        bias=bias,
    )
    return ENGINES["tiled" if engine == "auto" else engine](call, extras)
