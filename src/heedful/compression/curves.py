"""Measure the loss as more and more units are removed, for each removal order.

Plan which layers, heads or dimensions to remove for each curve: by each ranking, and in random orders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from heedful.attention.engines.changed_keys import key_change
from heedful.compression.loss_context import LEAST_UNITS, RIGHT, SHUFFLED, EvaluationContext
from heedful.compression.order import (
    RANDOM,
    Cuts,
    Removal,
    Unit,
    dimension_scores,
    losses_without,
    numbers,
    ordered,
    shuffled,
    without_dimensions,
    without_dimensions_of,
    without_units,
)
from heedful.compression.record import Curve, Point, Saving
from heedful.compression.redundancy import LayerKeys, Stored, run_all, stored_keys
from heedful.evaluation.evidence import Array
from heedful.inference.mean_interval import AT_LEAST_0, Effect
from heedful.inference.units import mean_of
from heedful.loading.batch import Batch

ALPHA = 0.05
TIED = 1e-6
"""Difference of two losses that rounding makes."""

Removals = Sequence[Removal]
"""One removal an order."""


@dataclass(frozen=True)
class CurvePlan:
    """Removals that make up one curve, for all fractions and orders.

    Attributes:
        part: ``layers``, ``heads`` or ``dimensions``.
        ranking: What the order is by.
        units: Units there are, in each key head for dimensions.
        steps: ``(fraction, units left out, removals)``, by growing fraction.
    """

    part: str
    ranking: str
    units: int
    steps: Sequence[tuple[float, int, Removals]]


@dataclass(frozen=True)
class MeasuredCurve:
    """A measured curve, with an array ``(order, sequence)`` of loss increases for each step; no arrays if the model has
    no loss.
    """

    plan: CurvePlan
    curve: Curve
    rises: Sequence[Array]


def measured_curve(
    context: EvaluationContext,
    plan: CurvePlan,
    base: Array | None,
    damages: dict[int, tuple[Array, Array]],
    tick: Callable[[], None],
    known: dict[object, Array] | None = None,
) -> MeasuredCurve:
    """Measure the loss at every step of a curve.

    Args:
        context: Model and the text on which prices are taken.
        plan: What to leave out.
        base: ``(sequence, 3)`` losses with nothing left out; None without a loss.
        damages: Identity of a removal to divergence and error, ``(sequence,)`` each.
        tick: Called after each batch.
        known: Losses of removals that were run before, by ``Removal.name``; filled further.
    """
    known = {} if known is None else known
    points, rises = [], []
    for fraction, number, removals in plan.steps:
        rise = None
        if base is not None:
            losses = [_losses(context, one, known, tick) for one in removals]
            rise = np.stack([one - base for one in losses])
            rises.append(rise[..., RIGHT])
        local = damages.get(id(removals[0]))
        points.append(
            Point(
                fraction=fraction,
                removed=number,
                loss=None if rise is None else context.loss_effect(rise[..., RIGHT].mean(0)),
                shuffled=None if rise is None else context.loss_effect(rise[..., SHUFFLED].mean(0)),
                divergence=None if local is None else context.effect(local[0], AT_LEAST_0),
                error=None if local is None else context.effect(local[1], AT_LEAST_0),
                orders=[] if rise is None else [float(mean_of(one)) for one in rise[..., RIGHT]],
            )
        )
    curve = Curve(part=plan.part, ranking=plan.ranking, units=plan.units, points=points)
    return MeasuredCurve(plan, curve, rises)


def _losses(
    context: EvaluationContext, removal: Removal, known: dict[object, Array], tick: Callable[[], None]
) -> Array:
    """Losses without something, run once however many orders come to it."""
    if removal.name in known:
        for _ in context.batches:
            tick()
    else:
        known[removal.name] = losses_without(context, context.batches, removal, tick)
    return known[removal.name]


def dimension_damage(context: EvaluationContext, plans: Sequence[CurvePlan]) -> dict[int, tuple[Array, Array]]:
    """Remove dimensions from one layer at a time; return the weight divergence and output error, averaged over heads,
    by ``id(removal)``.

    Args:
        context: Model and text.
        plans: Plans of dimensions.

    Returns:
        Identity of a removal to ``(sequence,)`` divergences and errors.
    """
    removals = [step[2][0] for plan in plans for step in plan.steps]
    if not removals:
        return {}
    now: list[Batch] = [context.batches[0]]
    parts: dict[str, list[Array]] = {}

    def visit(stored: Stored) -> None:
        found = []
        for removal in removals:
            gone = removal.dimensions.get(stored.module)
            if gone is None:
                return
            change = key_change(stored.call, without_dimensions(stored.call, gone).key)
            found.append(np.stack([part.double().cpu().numpy() for part in (change.divergence, change.error)]))
        parts.setdefault(stored.path, []).append(np.stack(found, 1))

    with stored_keys(context.model, now, "after", visit):
        run_all(context.model, context.batches, now, context.ticker(len(context.batches), "rows without dimensions"))
    if not parts:
        return {}
    whole = np.concatenate([np.concatenate(each, 2) for each in parts.values()], 3)  # 2, removal, sequence, head
    means = mean_of(whole, axis=-1)
    return {id(removal): (means[0, place], means[1, place]) for place, removal in enumerate(removals)}


def savings(context: EvaluationContext, measured: Sequence[MeasuredCurve]) -> list[Saving]:
    """Return, for each ranking and fraction, the loss saved compared with random order."""
    found = []
    control = {one.plan.part: one for one in measured if one.plan.ranking == RANDOM}
    for one in measured:
        random = control.get(one.plan.part)
        if one.plan.ranking == RANDOM or random is None:
            continue
        for step, (own, other) in enumerate(zip(one.rises, random.rises, strict=True)):
            saved, p = _saved(context, own[0], other), _p(own[0], other)
            found.append(
                Saving(
                    part=one.plan.part,
                    ranking=one.plan.ranking,
                    fraction=one.plan.steps[step][0],
                    saved=saved,
                    p=p,
                    answer=_answer(saved, p),
                )
            )
    return found


def _saved(context: EvaluationContext, own: Array, random: Array) -> Effect:
    """Random less own over documents, the interval widened by what other random orders would give.

    The two sources are independent, so that the squares of their half widths add (MOVER; Zou and Donner 2008,
    doi:10.1002/sim.3095); orders have Student's t with one degree fewer than there are.
    """
    from scipy.stats import t

    effect = context.loss_effect(random.mean(0) - own)
    orders = mean_of(random, axis=1)
    if len(orders) < 2:
        return Effect(estimate=effect.estimate, low=float("nan"), high=float("nan"), n=effect.n)
    half = float(t.ppf(0.975, len(orders) - 1) * orders.std(ddof=1) / np.sqrt(len(orders)))
    low, high = (float(np.hypot(effect.estimate - bound, half)) for bound in (effect.low, effect.high))
    return Effect(estimate=effect.estimate, low=effect.estimate - low, high=effect.estimate + high, n=effect.n)


def _p(own: Array, random: Array) -> float:
    """Rank of an order among random ones, from below; ties count against it."""
    cheap = mean_of(random, axis=1) <= mean_of(own) + TIED
    return float((1 + cheap.sum()) / (1 + len(random)))


def _answer(saved: Effect, p: float) -> str:
    if saved.n < LEAST_UNITS or not np.isfinite(saved.low) or not np.isfinite(saved.high):
        return "insufficient data"
    if saved.low > 0:
        return "yes" if p <= ALPHA else "not beyond chance"
    return "no" if saved.high < 0 else "not settled"


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
