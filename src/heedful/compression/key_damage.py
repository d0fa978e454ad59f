"""Measure how quantizers change the weights and outputs of each call, in one pass of the unchanged model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from heedful.attention.engines.changed_keys import attended, key_change
from heedful.compression.loss_context import EvaluationContext
from heedful.compression.quantizer import Quantizer, noise_like, quantized
from heedful.compression.stored_keys import Stored, other_keys, run_all, stored_keys
from heedful.evaluation.ablation import losses_of
from heedful.evaluation.evidence import Array
from heedful.loading.batch import Batch
from heedful.monitoring.vectors.tails import tails


@dataclass
class LayerDamage:
    """Measurements of one attention call under each quantizer, with sequences in text order.

    Attributes:
        path: Module path.
        heads: Query heads.
        key_heads: Key heads.
        values: Name to arrays ``(sequence, ...)``: ``kurtosis`` and ``crest`` ``(sequence, key_head)``; ``key_error``
            ``(sequence, quantizer, key_head)``; ``divergence`` and ``error`` ``(sequence, quantizer, 2, head)``, the
            quantizer's first, then the noise's.
    """

    path: str
    heads: int
    key_heads: int
    values: dict[str, Array] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """Path of the module, without the call number."""
        return self.path.split("#")[0]


def key_damage(
    context: EvaluationContext, quantizers: Sequence[Quantizer], stage: str
) -> tuple[list[LayerDamage], dict[str, str]]:
    """Measure the tail heaviness of each call's keys, and how its weights and outputs change under each quantizer and
    under noise of equal size.

    The model runs as it is: each layer's queries, values and keys are its own, so that the damage is of one layer
    alone.

    Args:
        context: Model and text.
        quantizers: What to try.
        stage: ``after`` or ``before`` the rotation.

    Returns:
        The layers in the order of their calls, and what was left: path to reason.

    Raises:
        CaptureError: No attention of the model could be met.
    """
    layers: dict[str, LayerDamage] = {}
    parts: dict[str, list[dict[str, Array]]] = {}
    now: list[Batch] = [context.batches[0]]
    generator = torch.Generator().manual_seed(context.seed)

    def visit(stored: Stored) -> None:
        call = stored.call
        layers.setdefault(stored.path, LayerDamage(stored.path, call.heads, call.kv_heads))
        found = _measured(stored, quantizers, generator)
        parts.setdefault(stored.path, []).append({name: value.double().cpu().numpy() for name, value in found.items()})

    with stored_keys(context.model, now, stage, visit) as left:
        run_all(context.model, context.batches, now, context.ticker(len(context.batches), "damage of each head"))
    for path, layer in layers.items():
        layer.values = {name: np.concatenate([part[name] for part in parts[path]]) for name in parts[path][0]}
    return list(layers.values()), left.reasons


def _measured(stored: Stored, quantizers: Sequence[Quantizer], generator: torch.Generator) -> dict[str, Tensor]:
    shape = tails(stored.key, stored.real)
    found: dict[str, list[Tensor]] = {"key_error": [], "divergence": [], "error": []}
    for quantizer in quantizers:
        rounded = quantized(stored.key, quantizer, stored.real)
        noisy = noise_like(stored.key, rounded, generator, stored.real)
        found["key_error"].append(_relative(stored, rounded))
        both = [key_change(stored.call, other_keys(stored, key).key) for key in (rounded, noisy)]
        found["divergence"].append(torch.stack([one.divergence for one in both], 1))
        found["error"].append(torch.stack([one.error for one in both], 1))
    return {"kurtosis": shape.kurtosis, "crest": shape.crest} | {
        name: torch.stack(values, 1) for name, values in found.items()
    }


def _relative(stored: Stored, key: Tensor) -> Tensor:
    """Root mean square of the error over that of the keys, ``(batch, kv_head)``."""
    counted = 1.0 if stored.real is None else stored.real[:, None, :, None].float()
    error, size = ((values.float() * counted).square().sum((2, 3)) for values in (key - stored.key, stored.key))
    return (error / size).sqrt()


Change = Callable[[Stored], Tensor]


def losses_with(context: EvaluationContext, stage: str, change: Change, tick: Callable[[], None]) -> Array:
    """Return the loss of each sequence with changed keys in all layers, ``(sequence,)`` in nats per token.

    Args:
        context: Model and text.
        stage: ``after`` or ``before`` the rotation.
        change: From a call's stored keys to other ones.
        tick: Called after each batch.

    Returns:
        ``(sequence,)`` in nats per token.
    """
    now: list[Batch] = [context.batches[0]]
    parts: list[Array] = []
    with stored_keys(context.model, now, stage, lambda stored: attended(other_keys(stored, change(stored)))):
        for batch in context.batches:
            now[:] = [batch]
            parts.append(losses_of(context.model, context.objective, [batch], tick))
    return np.concatenate(parts)


def quantizer_losses(
    context: EvaluationContext, stage: str, quantizers: Sequence[Quantizer]
) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """Return the loss of each sequence in three cases: the unchanged model, recomputed attention with unchanged keys,
    and a pair (quantized keys, noise of equal size) per quantizer.

    Args:
        context: Model and text.
        stage: ``after`` or ``before`` the rotation.
        quantizers: What to try.

    Returns:
        Arrays ``(sequence,)`` in nats per token.
    """
    tick = context.ticker((2 + 2 * len(quantizers)) * len(context.batches), "loss under each quantizer")
    own = losses_of(context.model, context.objective, context.batches, tick)
    same = losses_with(context, stage, lambda stored: stored.key, tick)
    found = []
    for quantizer in quantizers:
        generator = torch.Generator().manual_seed(context.seed + 1)
        rounding, noise = _rounding(quantizer), _noise(quantizer, generator)
        found.append(tuple(losses_with(context, stage, change, tick) for change in (rounding, noise)))
    return own, same, found  # type: ignore[return-value]


def _rounding(quantizer: Quantizer) -> Change:
    return lambda stored: quantized(stored.key, quantizer, stored.real)


def _noise(quantizer: Quantizer, generator: torch.Generator) -> Change:
    def change(stored: Stored) -> Tensor:
        rounded = quantized(stored.key, quantizer, stored.real)
        return noise_like(stored.key, rounded, generator, stored.real)

    return change
