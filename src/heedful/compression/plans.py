"""Plan which layers, heads or dimensions to remove for each curve: by each ranking, and in random orders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heedful.compression.curves import CurvePlan
from heedful.compression.cuts import Cuts
from heedful.compression.loss_context import EvaluationContext
from heedful.compression.order import (
    RANDOM,
    Unit,
    dimension_scores,
    numbers,
    ordered,
    shuffled,
    without_dimensions_of,
    without_units,
)
from heedful.compression.redundancy import LayerKeys
from heedful.evaluation.evidence import Array
from heedful.evaluation.missing import mean_of

REDUNDANCY = ("effective_rank", "centred_cosine")
"""Arrays of ``LayerKeys`` that say how redundant keys are."""

REDUNDANCY_RANGES = {"effective_rank": (0.0, np.inf), "centred_cosine": (-1.0, 1.0)}
"""What their means can be."""


def unit_plans(
    context: EvaluationContext,
    layers: Sequence[LayerKeys],
    part: str,
    units: list[Unit],
    price: Array | None,
    cuts: Cuts,
) -> list[CurvePlan]:
    """Plan the removal curves of layers or heads.

    Args:
        context: Whose seed draws orders and ties.
        layers: What is known of the keys.
        part: ``layers`` or ``heads``.
        units: The layers or heads.
        price: ``(sequence, unit)`` rise of the loss without each alone; None where it was not measured.
        cuts: Shares and orders.
    """
    rank, cosine = (np.array([_of_unit(layers, unit, name) for unit in units]) for name in REDUNDANCY)
    orders = {
        "effective rank": [ordered(rank, context.seed)],
        "centred cosine": [ordered(-cosine, context.seed)],
        RANDOM: [shuffled(len(units), context.seed * 7919 + k) for k in range(cuts.orders)],
    }
    if price is not None:
        orders["price"] = [ordered(mean_of(price, axis=0), context.seed)]
    plans = []
    for ranking, several in orders.items():
        steps = []
        for fraction, number in numbers(cuts.fractions, len(units)):
            steps.append((fraction, number, [without_units(units, order, number) for order in several]))
        plans.append(CurvePlan(part, ranking, len(units), steps))
    return plans


def _of_unit(layers: Sequence[LayerKeys], unit: Unit, name: str) -> float:
    """Mean over sequences and over the key heads that a unit reads."""
    layer = layers[unit.layer]
    read = sorted({head // (layer.heads // layer.key_heads) for head in unit.heads})
    return float(mean_of(getattr(layer, name)[:, read]))


def dimension_plans(context: EvaluationContext, layers: Sequence[LayerKeys], cuts: Cuts) -> list[CurvePlan]:
    """Plan the removal curves of key dimensions; layers are skipped if it is unknown which components form rotary
    pairs.

    Args:
        context: Whose seed draws orders.
        layers: What is known of the keys.
        cuts: Shares and orders.
    """
    known = [layer for layer in layers if layer.groups]
    if not known:
        return []
    names = [name for name in dimension_scores(known[0]) if all(name in dimension_scores(one) for one in known)]
    count = len(known[0].groups)
    plans = []
    for ranking in (*names, RANDOM):
        seeds = [context.seed * 7919 + k for k in range(cuts.orders)] if ranking == RANDOM else [context.seed]
        steps = [
            (
                fraction,
                number,
                [without_dimensions_of(known, ranking, fraction, seed) for seed in seeds],
            )
            for fraction, number in numbers(cuts.fractions, count)
        ]
        plans.append(CurvePlan("dimensions", ranking, count, steps))
    return plans
