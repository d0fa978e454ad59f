"""Measure the loss increase from removing layers, heads and key dimensions, in the order of several rankings and in
random orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from heedful.compression.curves import (
    REDUNDANCY,
    REDUNDANCY_RANGES,
    MeasuredCurve,
    dimension_damage,
    dimension_plans,
    measured_curve,
    savings,
    unit_plans,
)
from heedful.compression.loss_context import (
    BATCH_TOKENS,
    RIGHT,
    EvaluationContext,
    Progress,
    Question,
    evaluation_context,
    judged_labels,
    label_losses,
    rank_correlations,
)
from heedful.compression.order import Cuts, Removal, Unit, head_units, layer_units, losses_without, without_units
from heedful.compression.quantize_keys import RESAMPLES
from heedful.compression.record import Pruning, RankCorrelation, UnitCost
from heedful.compression.redundancy import LayerKeys, layer_keys
from heedful.errors import UsageError
from heedful.evaluation.batches import batches_of
from heedful.evaluation.evidence import Array
from heedful.evaluation.running import evaluating, unwrapped
from heedful.evaluation.settings import versions
from heedful.evaluation.study import no_progress

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch


def measure_pruning(
    model: nn.Module,
    sequences: TokenBatch,
    *,
    cuts: Cuts | None = None,
    seed: int = 0,
    name: str = "",
    notes: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Pruning:
    """Measure the loss increase from removing attention, and whether key redundancy predicts it.

    Every other document ranks: redundancy of keys and the price of each layer and head alone are measured there. The
    other documents price the curves, so that no order is measured on the text that chose it. The model, its hooks,
    flags and random state are as before afterwards.

    Args:
        model: A causal language model, a masked one with its head, or an encoder without one (then dimensions alone
            are tried, and there is no loss).
        sequences: Held-out text of at least two documents (``heedful.make_sequences``).
        cuts: What is left out, and how often.
        seed: Seed of random orders, ties, shuffled labels and resamples.
        name: What the user calls the model.
        notes: Remarks of the loader that the report should carry.
        progress: Called with (done, total, what).

    Returns:
        The record.

    Raises:
        UsageError: The text is of one document.
        CaptureError: No attention of the model could be met.
        InputRejected: The model's parameters are sharded, or not finite.
    """
    cuts = cuts or Cuts()
    inside, unwrap_notes = unwrapped(model)
    with evaluating(inside):
        whole = evaluation_context(inside, sequences, seed=seed, resamples=RESAMPLES, progress=progress)
        ranking, measuring = _halves(whole)
        layers, left = layer_keys(ranking, ranking.batches)
        units = {"layers": layer_units(layers), "heads": head_units(layers)}
        unmeasured = [{"what": path, "why": why} for path, why in left.items()]
        unmeasured += [{"what": f"dimensions of {one.module}", "why": one.reason} for one in layers if one.reason]
        prices: dict[str, Array] = {}
        if whole.objective.name == "none":
            unmeasured.append({"what": "loss, and with it layers and heads", "why": whole.objective.reason})
        else:
            prices, unremoved = _loss_increases(ranking, units, cuts)
            unmeasured += unremoved
        measured, base = _measured(measuring, layers, units, prices, cuts)
        labels = None if base is None else judged_labels(measuring, base)
    model_facts, data = whole.facts(name, [*notes, *unwrap_notes], len(layers), sum(layer.heads for layer in layers))
    data["documents_that_rank"], data["documents_that_price"] = (
        len(np.unique(half.sequences.document.numpy())) for half in (ranking, measuring)
    )
    return Pruning(
        model=model_facts,
        data=data,
        settings={
            "parts": list(cuts.parts),
            "fractions": list(cuts.fractions),
            "orders": cuts.orders,
            "most_priced": cuts.each_alone,
            "seed": seed,
            "resamples": RESAMPLES,
        },
        versions=versions(),
        labels=labels,
        units=[row for part in units for row in _unit_costs(ranking, layers, part, units[part], prices.get(part))],
        curves=[one.curve for one in measured],
        savings=savings(measuring, measured),
        correlations=_correlations(ranking, layers, prices),
        not_measured=unmeasured,
    )


def _halves(context: EvaluationContext) -> tuple[EvaluationContext, EvaluationContext]:
    """Every other document, and the rest."""
    document = context.sequences.document
    names = document.unique()
    if len(names) < 2:
        raise UsageError(
            "prune: expected text of at least 2 documents, one to rank on and one to measure the cost on; got 1"
        )
    return _on(context, names[0::2]), _on(context, names[1::2])


def _on(context: EvaluationContext, names: torch.Tensor) -> EvaluationContext:
    text = context.sequences
    index = torch.isin(text.document, names).nonzero()[:, 0]
    fields = ("input_ids", "attention_mask", "document", "special", "punctuation")
    part = replace(text, **{name: getattr(text, name)[index] for name in fields})
    return replace(context, sequences=part, batches=batches_of(context.model, part, BATCH_TOKENS))


def _loss_increases(
    context: EvaluationContext, units: dict[str, list[Unit]], cuts: Cuts
) -> tuple[dict[str, Array], list[dict[str, str]]]:
    """Rise of the loss without each unit alone, ``(sequence, unit)`` a part, and parts that were too many."""
    found: dict[str, Array] = {}
    messages = []
    wanted = [part for part in units if part in cuts.parts]
    few = [part for part in wanted if len(units[part]) <= cuts.each_alone]
    tick = context.ticker((1 + sum(len(units[part]) for part in few)) * len(context.batches), "price of each alone")
    base = label_losses(context, context.batches, tick)[:, RIGHT]
    for part in wanted:
        if part not in few:
            why = (
                f"{len(units[part])} of them, and each takes a run: raise the limit of {cuts.each_alone} (--each-alone)"
            )
            messages.append({"what": f"price of each of the {part} alone", "why": why})
            continue
        removals = [without_units(units[part], [place], 1) for place in range(len(units[part]))]
        losses = [losses_without(context, context.batches, one, tick)[:, RIGHT] for one in removals]
        found[part] = np.stack(losses, 1) - base[:, None]
    return found, messages


def _measured(
    context: EvaluationContext,
    layers: Sequence[LayerKeys],
    units: dict[str, list[Unit]],
    prices: dict[str, Array],
    cuts: Cuts,
) -> tuple[list[MeasuredCurve], Array | None]:
    """Every curve, and the losses with nothing left out."""
    judged = context.objective.name != "none"
    plans = []
    for part in (part for part in units if judged and part in cuts.parts and len(units[part]) > 1):
        plans += unit_plans(context, layers, part, units[part], prices.get(part), cuts)
    by_dimension = dimension_plans(context, layers, cuts) if "dimensions" in cuts.parts else []
    damages = dimension_damage(context, by_dimension)
    runs = sum(len(step[2]) for plan in (*plans, *by_dimension) for step in plan.steps) + 2
    tick = context.ticker(runs * len(context.batches), "curves of the loss")
    base = label_losses(context, context.batches, tick) if judged else None
    known: dict[object, Array] = {}
    found = [measured_curve(context, plan, base, {}, tick, known) for plan in plans]
    if by_dimension:
        nothing = {layer.module: torch.zeros(layer.key_heads, layer.dim, dtype=torch.bool) for layer in layers}
        same = losses_without(context, context.batches, Removal(dimensions=nothing), tick) if judged else None
        found += [measured_curve(context, plan, same, damages, tick, known) for plan in by_dimension]
    return found, base


def _unit_costs(
    context: EvaluationContext, layers: Sequence[LayerKeys], part: str, units: Sequence[Unit], price: Array | None
) -> list[UnitCost]:
    prices = [None] * len(units) if price is None else [context.loss_effect(price[:, k]) for k in range(len(units))]
    shapes = {}
    for name in REDUNDANCY:
        shapes[name] = context.effects(
            np.stack([_sequences_of(layers, unit, name) for unit in units], 1), REDUNDANCY_RANGES[name]
        )
    return [
        UnitCost(
            part=part,
            module=unit.module,
            layer=unit.layer,
            head=None if part == "layers" else unit.head,
            price=prices[place],
            effective_rank=shapes["effective_rank"][place],
            centred_cosine=shapes["centred_cosine"][place],
        )
        for place, unit in enumerate(units)
    ]


def _sequences_of(layers: Sequence[LayerKeys], unit: Unit, name: str) -> Array:
    layer = layers[unit.layer]
    read = sorted({head // (layer.heads // layer.key_heads) for head in unit.heads})
    return np.asarray(getattr(layer, name)[:, read].mean(1))


def _correlations(
    context: EvaluationContext, layers: Sequence[LayerKeys], prices: dict[str, Array]
) -> list[RankCorrelation]:
    """Redundancy against price: layers; and key heads, the prices of the heads that read one being averaged."""
    questions = []
    for name in REDUNDANCY:
        if "layers" in prices:
            first = np.stack([getattr(layer, name).mean(1) for layer in layers], 1)
            questions.append(Question(name, "price", "layers", first, prices["layers"]))
        if "heads" in prices:
            first = np.concatenate([getattr(layer, name) for layer in layers], 1)
            ends = np.cumsum([layer.heads for layer in layers])[:-1]
            pieces = np.split(prices["heads"], ends, axis=1)
            second = [
                piece.reshape(len(piece), layer.key_heads, -1).mean(2)
                for piece, layer in zip(pieces, layers, strict=True)
            ]
            questions.append(Question(name, "price", "key heads", first, np.concatenate(second, 1)))
    return rank_correlations(context, questions)
