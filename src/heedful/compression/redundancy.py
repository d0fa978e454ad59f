"""Measure each layer's keys before removal: redundancy, and the contribution of each dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from heedful.compression.loss_context import EvaluationContext
from heedful.compression.stored_keys import Stored, run_all, stored_keys
from heedful.evaluation.evidence import Array
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept
from heedful.interception.unrotated import NOT_ROTATED, Unrotated
from heedful.loading.batch import Batch
from heedful.monitoring.vectors.cosine import centred
from heedful.monitoring.vectors.rotation import rotation_between
from heedful.monitoring.vectors.vectors import Vectors

NORMS = (("q_norm", "k_norm"), ("query_layernorm", "key_layernorm"), ("q_layernorm", "k_layernorm"))
"""Names of norms whose gains multiply queries and keys."""


@dataclass
class LayerKeys:
    """Measurements of one attention module's keys.

    Attributes:
        module: Module path.
        heads: Query heads.
        key_heads: Key heads.
        dim: Components of a key.
        effective_rank: ``(sequence, key_head)`` participation ratio of the covariance of the sequence's keys.
        centred_cosine: ``(sequence, key_head)`` mean cosine of two keys about their mean.
        contribution: ``(key_head, dim)`` mean square of the queries' component times the variance of the keys'.
        variance: ``(key_head, dim)`` variance of the keys' component.
        gain: ``(dim,)`` product of the gains of both norms; None where there are none.
        groups: ``(group, component)`` components that go together: pairs that rotate, or single ones.
        reason: Why dimensions cannot be left out; empty where they can.
    """

    module: str
    heads: int
    key_heads: int
    dim: int
    effective_rank: Array
    centred_cosine: Array
    contribution: Tensor
    variance: Tensor
    gain: Tensor | None = None
    groups: list[list[int]] = field(default_factory=list)
    reason: str = ""


def layer_keys(context: EvaluationContext, batches: Sequence[Batch]) -> tuple[list[LayerKeys], dict[str, str]]:
    """Measure the keys of every layer on some batches.

    Args:
        context: The model.
        batches: What to run.

    Returns:
        The layers in the order of their first calls, and what was left: path to reason.

    Raises:
        CaptureError: No attention of the model could be met.
    """
    found: dict[str, LayerKeys] = {}
    parts: dict[str, list[tuple[Array, Array]]] = {}
    now: list[Batch] = [batches[0]]

    def visit(stored: Stored) -> None:
        if "#" in stored.path:
            return
        rank, cosine, square, variance = _measured(stored)
        parts.setdefault(stored.path, []).append((rank.cpu().numpy(), cosine.cpu().numpy()))
        call, weight = stored.call, len(rank) / sum(len(batch.index) for batch in batches)
        added = (square * variance).mean(0).cpu() * weight, variance.mean(0).cpu() * weight
        if stored.path not in found:
            empty, shape = np.empty(0), (call.heads, call.kv_heads, call.key.shape[-1])
            gain = _gain(stored.layer, shape[2])
            found[stored.path] = LayerKeys(stored.path, *shape, empty, empty, *added, gain)
        else:
            one = found[stored.path]
            one.contribution, one.variance = one.contribution + added[0], one.variance + added[1]

    with stored_keys(context.model, now, "after", visit) as left:
        run_all(context.model, batches, now, context.ticker(len(batches), "keys of each head"))
    for path, layer in found.items():
        layer.effective_rank, layer.centred_cosine = (np.concatenate(each) for each in zip(*parts[path], strict=True))
    _find_groups(context, found, batches[0])
    return list(found.values()), left.reasons


def _measured(stored: Stored) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Effective rank and centred cosine ``(batch, key_head)``; mean square of queries and variance of keys
    ``(batch, key_head, dim)``.
    """
    call = stored.call
    keys, queries = _wide(stored.key, stored.real), _wide(call.query, _real_queries(stored))
    about = centred(keys)
    moments = about.transpose(-1, -2) @ about
    trace, square = moments.diagonal(dim1=-2, dim2=-1).sum(-1), moments.square().sum((-2, -1))
    number = keys.counted.sum(-1)
    unit = torch.nn.functional.normalize(about, dim=-1)
    pairs = (number * (number - 1)).masked_fill(number < 2, math.nan)
    cosine = (unit.sum(2).square().sum(-1) - unit.square().sum((2, 3))) / pairs
    groups = call.heads // call.kv_heads
    energy = queries.values.square().sum(2) / queries.counted.sum(-1).clamp_min(1)[..., None]
    energy = energy.view(call.batch, call.kv_heads, groups, -1).mean(2)
    variance = moments.diagonal(dim1=-2, dim2=-1) / number.clamp_min(1)[..., None]
    rank = trace.square() / square.masked_fill(square == 0, math.nan)
    return rank, cosine, energy, variance


def _wide(values: Tensor, real: Tensor | None) -> Vectors:
    return Vectors.of(values if values.device.type == "mps" else values.double(), real)


def _real_queries(stored: Stored) -> Tensor | None:
    real = stored.real
    return real if real is not None and real.shape[1] == stored.call.n_queries else None


def _gain(module: nn.Module, dim: int) -> Tensor | None:
    children = dict(module.named_children())
    for names in NORMS:
        weights = [getattr(children.get(name), "weight", None) for name in names]
        if all(isinstance(weight, Tensor) and weight.shape == (dim,) for weight in weights):
            return (weights[0].detach() * weights[1].detach()).abs().double().cpu()  # type: ignore[union-attr]
    return None


def _find_groups(context: EvaluationContext, layers: dict[str, LayerKeys], batch: Batch) -> None:
    """Which components of each layer go together, from one batch; queries and keys before the rotation are needed."""
    unrotated = Unrotated()
    for layer in layers.values():
        layer.reason = "its call was not captured again"

    def answer(event: AttentionEvent) -> None:
        layer, call = layers.get(event.path), event.call
        if layer is not None:
            layer.groups, layer.reason = _groups(unrotated, event.module, call.query, call.key)

    unrotated.begin(context.model, lambda: True)
    try:
        with intercept(context.model, answer):
            run_all(context.model, [batch], [batch], lambda: None)
    finally:
        unrotated.end()


def _groups(unrotated: Unrotated, module: nn.Module, query: Tensor, key: Tensor) -> tuple[list[list[int]], str]:
    before, reason = unrotated.of(module, query, key)
    dim = key.shape[-1]
    if before is None:
        return ([[c] for c in range(dim)], "") if reason == NOT_ROTATED else ([], reason)
    turn = rotation_between(before[1], key)
    if turn is None:
        return [], "pairs of components that rotate together were not found"
    pairs = [list(pair) for pair in zip(turn.first.tolist(), turn.second.tolist(), strict=True)]
    paired = {c for pair in pairs for c in pair}
    return [*pairs, *([c] for c in range(dim) if c not in paired)], ""
