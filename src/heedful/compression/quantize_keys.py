"""Measure the effect of keys in few bits on weights, outputs and loss, compared with noise of equal size.

Measure how quantizers change the weights and outputs of each call, in one pass of the unchanged model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from heedful.attention.engines.changed_keys import attended, key_change
from heedful.compression.loss_context import (
    EvaluationContext,
    Progress,
    Question,
    evaluation_context,
    rank_correlations,
    verdict_on,
)
from heedful.compression.quantizer import GROUPS, Quantizer, noise_like, quantized, tails
from heedful.compression.record import Damage, HeadDamage, KeyTails, Quantization, RankCorrelation, Trial
from heedful.compression.redundancy import STAGES, Stored, other_keys, run_all, stored_keys
from heedful.errors import UsageError
from heedful.evaluation.ablation import losses_of
from heedful.evaluation.evidence import Array
from heedful.evaluation.running import evaluating, unwrapped
from heedful.evaluation.settings import Margins, versions
from heedful.evaluation.study import no_progress
from heedful.inference.mean_interval import AT_LEAST_0, Effect
from heedful.loading.batch import Batch

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch


BITS = (8, 4, 3)
CLIPS = (99.9, 99.0)
RESAMPLES = 1999


def standard_quantizers(
    bits: Sequence[int] = BITS, groups: Sequence[str] = GROUPS, clips: Sequence[float] = CLIPS
) -> list[Quantizer]:
    """Return the standard quantizers: every bit width with every grouping, then every clipping level per tensor.

    Args:
        bits: Bits of a component.
        groups: Names of ``GROUPS``.
        clips: Percentages of components that keep their value.

    Raises:
        UsageError: A number or a name is out of range, or all three are empty.
    """
    plain = [Quantizer(bits=b, group=group) for b in bits for group in groups]
    middle = sorted(bits)[len(bits) // 2] if bits else None
    both = [Quantizer(bits=middle, group="tensor", clip=clip) for clip in clips] if middle is not None else []
    found = [*plain, *(Quantizer(bits=None, group="tensor", clip=clip) for clip in clips), *both]
    if not found:
        raise UsageError("quantizers: expected at least one number of bits with a group, or a percentage to clip at")
    return list(dict.fromkeys(found))


def quantize_keys(
    model: nn.Module,
    sequences: TokenBatch,
    *,
    quantizers: Sequence[Quantizer] | None = None,
    stage: str = "after",
    seed: int = 0,
    name: str = "",
    notes: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Quantization:
    """Measure how rounding keys to few bits changes weights, outputs and loss.

    Rows and outputs: each layer alone, on the model's own queries and values. Loss: all layers at once. The control is
    Gaussian noise of the same root mean square as the rounding error of each sequence and key head; where it costs the
    same, only the size of the error matters and not its structure. The model, its hooks, flags and random state are as
    before afterwards.

    Args:
        model: A causal language model, a masked one with its head, or an encoder without one (then there is no loss).
        sequences: Held-out text (``heedful.make_sequences``).
        quantizers: What to try; None for ``standard_quantizers()``.
        stage: ``after`` the rotation of positions, as keys are cached, or ``before`` it.
        seed: Seed of noise and resamples.
        name: What the user calls the model.
        notes: Remarks of the loader that the report should carry.
        progress: Called with (done, total, what).

    Returns:
        The record.

    Raises:
        UsageError: The stage does not exist, or there is no quantizer.
        CaptureError: No attention of the model could be met, or nothing before its rotation.
        InputRejected: The model's parameters are sharded, or not finite.
    """
    if stage not in STAGES:
        raise UsageError(f"stage: expected one of {', '.join(STAGES)}; got {stage!r}")
    tried = standard_quantizers() if quantizers is None else list(quantizers)
    if not tried:
        raise UsageError("quantizers: expected at least one, got none")
    inside, unwrap_notes = unwrapped(model)
    with evaluating(inside):
        context = evaluation_context(inside, sequences, seed=seed, resamples=RESAMPLES, progress=progress)
        layers, left = key_damage(context, tried, stage)
        losses = None if context.objective.name == "none" else quantizer_losses(context, stage, tried)
    heads = sum(layer.heads for layer in layers)
    model_facts, data = context.facts(name, [*notes, *unwrap_notes], len(layers), heads)
    unmeasured = [{"what": path, "why": why} for path, why in left.items()]
    if losses is None:
        unmeasured.append({"what": "loss", "why": context.objective.reason})
    return Quantization(
        model=model_facts,
        data=data,
        settings={
            "quantizers": [asdict(one) for one in tried],
            "stage": stage,
            "seed": seed,
            "resamples": RESAMPLES,
            "margin": Margins().loss,
        },
        versions=versions(),
        stage=stage,
        loss=None if losses is None else context.effect(losses[0], AT_LEAST_0),
        recomputed=None if losses is None else context.effect(losses[1] - losses[0]),
        trials=[
            _trial(context, layers, index, quantizer, None if losses is None else (losses[1], *losses[2][index]))
            for index, quantizer in enumerate(tried)
        ],
        tails=_tails(context, layers),
        correlations=_correlations(context, layers, tried),
        not_measured=unmeasured,
    )


LEAST_OF_COLUMNS = (0.0, 0.0, 0.0, 0.0, -np.inf, 0.0)
"""Least that divergences, errors, the difference of two divergences and the error of keys can be."""


def _trial(
    context: EvaluationContext,
    layers: Sequence[LayerDamage],
    index: int,
    quantizer: Quantizer,
    losses: tuple[Array, Array, Array] | None,
) -> Trial:
    divergence, error = (
        np.concatenate([layer.values[name][:, index] for layer in layers], -1) for name in ("divergence", "error")
    )
    key_error = np.concatenate([layer.values["key_error"][:, index] for layer in layers], -1)
    means = [_mean(values[:, arm]) for arm in (0, 1) for values in (divergence, error)]
    effects = context.effects(np.stack([*means, means[0] - means[2], _mean(key_error)], 1), (LEAST_OF_COLUMNS, np.inf))
    costs: list[Effect | None] = [None, None, None]
    if losses is not None:
        own, rounded, noisy = losses
        costs = [context.loss_effect(values) for values in (rounded - own, noisy - own, rounded - noisy)]
    return Trial(
        name=quantizer.name,
        bits=quantizer.bits,
        group=quantizer.group,
        clip=quantizer.clip,
        key_error=effects[5],
        quantized=Damage(divergence=effects[0], error=effects[1], loss=costs[0]),
        noise=Damage(divergence=effects[2], error=effects[3], loss=costs[1]),
        structure=costs[2],
        divergence_structure=effects[4],
        verdict=verdict_on(costs[0], Margins().loss),
        heads=_heads(context, layers, index),
    )


def _mean(values: Array) -> Array:
    """Mean over heads, ``(sequence,)``; NaN where a sequence has none."""
    there = np.isfinite(values)
    count = there.sum(1)
    return np.asarray(np.where(there, values, 0.0).sum(1) / np.where(count > 0, count, np.nan))


def _heads(context: EvaluationContext, layers: Sequence[LayerDamage], index: int) -> list[HeadDamage]:
    found = []
    for number, layer in enumerate(layers):
        divergence, error = (
            context.effects(layer.values[name][:, index, 0], AT_LEAST_0) for name in ("divergence", "error")
        )
        for head in range(layer.heads):
            found.append(
                HeadDamage(
                    layer=number,
                    head=head,
                    key_head=head // (layer.heads // layer.key_heads),
                    divergence=divergence[head],
                    error=error[head],
                )
            )
    return found


def _tails(context: EvaluationContext, layers: Sequence[LayerDamage]) -> list[KeyTails]:
    found = []
    for number, layer in enumerate(layers):
        kurtosis, crest = (context.effects(layer.values[name]) for name in ("kurtosis", "crest"))
        found += [
            KeyTails(layer=number, module=layer.module, key_head=head, kurtosis=kurtosis[head], crest=crest[head])
            for head in range(layer.key_heads)
        ]
    return found


def _correlations(
    context: EvaluationContext, layers: Sequence[LayerDamage], quantizers: Sequence[Quantizer]
) -> list[RankCorrelation]:
    """Tails of key heads against their damage, that of the query heads which read a key head being averaged."""
    questions = []
    for x in ("kurtosis", "crest"):
        first = np.concatenate([layer.values[x] for layer in layers], 1)
        for index, quantizer in enumerate(quantizers):
            for y in ("divergence", "error"):
                damage = [_by_key_head(layer, layer.values[y][:, index, 0]) for layer in layers]
                questions.append(Question(x, y, quantizer.name, first, np.concatenate(damage, 1)))
    return rank_correlations(context, questions)


def _by_key_head(layer: LayerDamage, values: Array) -> Array:
    return np.asarray(values.reshape(len(values), layer.key_heads, -1).mean(-1))


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
    """Measure how heavy the tails of each call's keys are, and how its weights and outputs change under each quantizer.

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
    """Return each sequence's loss for the unchanged model, for recomputed attention, and for each quantizer beside
    noise of equal size.

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
