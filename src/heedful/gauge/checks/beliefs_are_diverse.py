"""Section 7: how different are the beliefs at the input of attention?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from heedful.evaluation.evidence import Array, LayerEvidence
from heedful.evaluation.heads import head_table
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding, HeadRow
from heedful.evaluation.study import Study
from heedful.evaluation.unit_values import unit_values
from heedful.gauge.evidence_beliefs import angle_spreads
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import mean_interval
from heedful.inference.units import largest_of, mean_of
from heedful.inference.verdict import Verdict

SOURCE = "KL of sampled queries from earlier keys, bootstrap over documents; .5 nat is means one deviation apart"
APART = 0.5
"""Nats above which beliefs count as diverse: the divergence of two normals whose means lie one deviation apart."""


@check(
    section=7,
    source=SOURCE,
    descriptive=True,
    definition=2,
    meaning="Beliefs that are all alike leave attention nothing to choose between.",
)
def beliefs_are_diverse(study: Study) -> list[Finding]:
    """Describe KL divergences, distances, angles and variances of beliefs by layer; this check gives no PASS or FAIL.

    A head is called diverse or alike, and its attention near uniform, by whole intervals over documents alone.
    """
    layers = [layer for layer in study.observed.layers if "kl_mean" in layer.values]
    if not layers:
        reason = "no attention module attends by the divergence of beliefs"
        return [Finding(claim="beliefs_are_diverse", verdict=Verdict.SKIP, reason=reason, source=SOURCE)]
    rows = {(row.layer, row.head): row for row in head_table(study)}
    intervals = {layer.layer: _interval(study, study.units(layer.values["kl_mean"])) for layer in layers}
    heads = [
        _head(study, layer, rows[layer.layer, head], intervals[layer.layer].at(head))
        for layer in layers
        for head in range(layer.heads)
    ]
    units = mean_of(np.concatenate([study.units(layer.values["kl_mean"]) for layer in layers], axis=1), axis=1)
    if np.isnan(units).all():
        reason = "no query sees an earlier belief that has a finite divergence"
        return [Finding(claim="beliefs_are_diverse", verdict=Verdict.UNDEFINED, reason=reason, source=SOURCE)]
    whole = _interval(study, units)
    flat = [one.detail["name"] for one in heads if one.detail["beliefs"] == "diverse" and one.detail["near_uniform"]]
    overall = Finding(
        claim="beliefs_are_diverse",
        verdict=Verdict.INFO,
        reason=f"{_by_label(layers)}{_angles(study)}; {_tally(heads, flat)}",
        estimate=float(whole.estimate),
        interval=(float(whole.low), float(whole.high)),
        unit="nat",
        n=int(whole.units),
        threshold=APART,
        source=SOURCE,
        detail={"named": flat, "concentration": _nats(rows.values(), flat)},
        units=unit_values(units),
    )
    return [overall, *(_layer(study, layer) for layer in layers), *heads]


def _nats(rows: Iterable[HeadRow], named: Sequence[str]) -> float | None:
    """Mean nats from uniform of the named heads; None where there are none."""
    values = [row.statistics.get("concentration") for row in rows if row.label in named]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _interval(study: Study, units: Array) -> Interval:
    return mean_interval(units)


def _layer(study: Study, layer: LayerEvidence) -> Finding:
    units = mean_of(study.units(layer.values["kl_mean"]), axis=1)
    interval = _interval(study, units)
    return Finding(
        claim="beliefs_are_diverse",
        verdict=Verdict.UNDEFINED if math.isnan(float(interval.estimate)) else Verdict.INFO,
        reason="mean divergence over its heads",
        estimate=None if math.isnan(float(interval.estimate)) else float(interval.estimate),
        interval=(float(interval.low), float(interval.high)),
        unit="nat",
        n=int(interval.units),
        threshold=APART,
        source=SOURCE,
        layer=layer.layer,
    )


def _head(study: Study, layer: LayerEvidence, row: HeadRow, interval: Interval) -> Finding:
    numbers = {
        name: float(mean_of(layer.values[name][:, row.head])) for name in ("kl_sd", "mean_distance", "variance_mean")
    }
    numbers |= {name: largest_of(layer.values[name][:, row.head]) for name in ("kl_max", "variance_max")}
    numbers |= {name: -largest_of(-layer.values[name][:, row.head]) for name in ("kl_min", "variance_min")}
    estimate, low, high = float(interval.estimate), float(interval.low), float(interval.high)
    few = interval.units < study.settings.least_units
    beliefs = "open" if few else "diverse" if low > APART else "alike" if high < APART else "open"
    messages = {
        "diverse": "beliefs diverse",
        "alike": "beliefs alike",
        "open": "how diverse beliefs are is not settled",
    }
    return Finding(
        claim="beliefs_are_diverse",
        verdict=Verdict.UNDEFINED if math.isnan(estimate) else Verdict.INFO,
        reason=f"{messages[beliefs]}, attention {row.verdict}: {row.reason}; KL sd {numbers['kl_sd']:.2g} "
        f"({numbers['kl_min']:.2g} to {numbers['kl_max']:.2g}), means {numbers['mean_distance']:.2g} apart, "
        f"variances {numbers['variance_min']:.2g} to {numbers['variance_max']:.2g}"
        if not math.isnan(estimate)
        else "no finite divergence",
        estimate=None if math.isnan(estimate) else estimate,
        interval=(low, high),
        unit="nat",
        n=int(interval.units),
        threshold=APART,
        source=SOURCE,
        layer=layer.layer,
        head=row.head,
        detail={
            "name": row.label,
            "beliefs": beliefs,
            "near_uniform": row.verdict == "DIFFUSE",
            **{name: value for name, value in numbers.items() if math.isfinite(value)},
        },
    )


def _by_label(layers: Sequence[LayerEvidence]) -> str:
    """Mean and deviation of divergences, mean distance and range of variances of each kind of head, by its label."""
    kinds: dict[str, list[tuple[LayerEvidence, int]]] = {}
    for layer in layers:
        for head, label in enumerate(getattr(layer.module, "head_labels", None) or ["heads"] * layer.heads):
            kinds.setdefault(str(label), []).append((layer, head))
    messages = []
    for label, places in kinds.items():
        mean, spread, apart = (
            float(mean_of(np.stack([layer.values[name][:, head] for layer, head in places])))
            for name in ("kl_mean", "kl_sd", "mean_distance")
        )
        messages.append(f"{label} {mean:.2g} nat (sd {spread:.2g}), means {apart:.2g} apart")
    low, high = (
        max(largest_of(sign * layer.values[f"variance_{name}"]) for layer in layers)
        for sign, name in ((-1, "min"), (1, "max"))
    )
    return f"KL of pairs: {'; '.join(messages)}; variances {-low:.2g} to {high:.2g}"


def _angles(study: Study) -> str:
    spread = study.units(angle_spreads(study))
    if np.isnan(spread).all():
        return ""
    interval = _interval(study, spread)
    return f", angles spread {float(interval.estimate):.2g} [{float(interval.low):.2g}, {float(interval.high):.2g}] rad"


def _tally(heads: Sequence[Finding], flat: Sequence[str]) -> str:
    diverse, alike = (sum(one.detail["beliefs"] == word for one in heads) for word in ("diverse", "alike"))
    message = f"{diverse} of {len(heads)} heads have diverse beliefs, {alike} alike ones"
    return f"{message}; {len(flat)} have diverse beliefs and near-uniform attention"
