"""``heedful.measure``: compute entropy and other moments of attention weights from tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense
from heedful.attention.engines.fused import fused
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras, Moments
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import Visibility, causal, tensor_of, visibility_of
from heedful.errors import CallError, UsageError

ENGINES: dict[str, Callable[[AttentionCall, Extras | None], Moments]] = {
    "dense": dense,
    "tiled": tiled,
    "fused": fused,
}
"""Engines by name. ``auto`` takes ``tiled``, which can do every call; a named one never gives way to another."""


Array = Tensor | np.ndarray
"""A tensor of torch, or an array of numpy."""


def measure(
    query: Array,
    key: Array,
    value: Array | None = None,
    *,
    visibility: Visibility | Array | str | None = None,
    scale: float | None = None,
    bias: Array | None = None,
    engine: str = "auto",
    extras: Extras | None = None,
    groups: Groups | None = None,
) -> Moments:
    r"""Compute exact moments of attention weights (entropy and others) without the ``(query, key)`` matrix.

    .. math:: A_{ij} = \exp(s\, q_i \cdot k_j + b_{ij} - Z_i) \quad\text{over the visible keys } j

    Args:
        query: ``(batch, head, query, dim)``.
        key: ``(batch, kv_head, key, dim)``; the heads are a multiple of the key heads.
        value: ``(batch, kv_head, key, value_dim)``, or None for moments without output.
        visibility: Which keys a query sees: ``heedful.causal()`` and its like, ``"causal"``, ``"bidirectional"``, or a
            bool array broadcastable to ``(batch, head, query, key)``; None means ``heedful.causal()``.
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

    Example:
        >>> import torch
        >>> q = torch.randn(1, 2, 5, 8)
        >>> measure(q, q, visibility="causal").rows.entropy.shape
        torch.Size([1, 2, 5])
    """
    if engine != "auto" and engine not in ENGINES:
        raise UsageError(f"engine: expected one of auto, {', '.join(ENGINES)}; got {engine!r}")
    for name, given, wanted in (("groups", groups, Groups), ("extras", extras, Extras)):
        if not isinstance(given, wanted | None):
            raise UsageError(f"{name}: expected heedful.{wanted.__name__}(...), got {type(given).__name__}")
    if groups is not None:
        if extras is not None and extras.groups is not None:
            raise UsageError("groups: expected them once, got groups= and extras.groups; leave one out")
        extras = replace(extras or Extras(), groups=groups)
    own_bias: Tensor | None = tensor_of("bias", bias)
    if scale is not None and (isinstance(scale, bool | str) or not isinstance(scale, float | int)):
        raise CallError(f"scale: expected a number, got {scale!r:.60}")
    if scale is not None and not math.isfinite(scale):
        raise CallError(f"scale: expected a finite number, got {scale}")
    if own_bias is not None and not bool(torch.isfinite(own_bias).all()):
        raise CallError(
            "bias: expected finite numbers, got infinite or NaN ones; "
            "hide keys by visibility=heedful.masked(bias > -inf)"
        )
    call = AttentionCall(
        query=tensor_of("query", query),
        key=tensor_of("key", key),
        value=tensor_of("value", value),
        visibility=causal() if visibility is None else visibility_of(visibility),
        scale=math.nan if scale is None else float(scale),
        bias=own_bias,
    )
    return ENGINES["tiled" if engine == "auto" else engine](call, extras)
