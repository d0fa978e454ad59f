"""Claims on compressing attention: keys in few bits, fewer dimensions, fewer layers.

Measured by the commands, on held-out text: ``heedful compress quantize MODEL --json OUT/quantized-NAME.json`` and
``heedful compress prune MODEL --part layers --json OUT/pruned-layers-NAME.json``, with ``dimensions`` likewise;
``NAME`` is one of ``MODELS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval
from heedful.inference.mean_interval import mean_interval
from heedful.inference.verdict import Verdict
from reproductions.deciding import above, below, beside
from reproductions.evidence import Measurements, NotMeasured
from reproductions.published import published

MODELS = {
    "pretrained": "a trained model of 135 M parameters, 30 layers",
    "embedded": "the embedded model of 2 M parameters, 4 layers",
    "note": "the 22-layer run, step 400",
}
MARGIN = 0.01
"""Rise of the loss, nats a token, up to which a change costs nothing: the margin of ``heedful compress quantize``."""
LITTLE = 0.01
"""Share of the loss up to which a rise is no great loss."""
LEVEL = 0.05
LAST, FEW = 3, 4
"""Layers that the note names, the last ones: 19 to 21 of 22; told of where they are a quarter of all at most."""
NOTE = "note"


@published(
    note="002",
    section="implications, 1",
    sentence="Naive quantisation of keys clips their outliers and destroys attention.",
    figure="qualitative",
)
def outliers_break_quantisation(evidence: Measurements) -> list[Finding]:
    """Compare the loss after clipping outliers without rounding, and with four bits and one scale per layer."""
    found: list[Finding] = []
    for name, record in _records(evidence, "quantized"):
        of = {(one["bits"], one["group"], one["clip"]): one for one in record["trials"]}
        parts: list[tuple[tuple[int | None, str, float | None], Callable[..., Finding], str]] = [
            ((None, "tensor", 99.9), above, "Key components outside the middle 99.9 % clipped, nothing rounded"),
            (
                (4, "tensor", None),
                above,
                "Nothing clipped, 4 bits from the least to the largest key component of a layer",
            ),
            ((None, "tensor", 99.0), beside, "Those outside the middle 99 % clipped, nothing rounded"),
            ((4, "tensor", 99.0), beside, "Those clipped and the rest in 4 bits of a finer step"),
            ((4, "channel", None), beside, "4 bits with a scale for each component"),
            ((8, "tensor", None), beside, "8 bits, one scale"),
        ]
        for key, decide, message in parts:
            if key in of:
                bound = (MARGIN,) if decide is above else ()
                reason = f"{message}: rise of the loss, {name}."
                facts = {"unit": "nat/token", "null": f"{MARGIN}: costs nothing" if bound else ""}
                found.append(decide(_interval(of[key]["quantized"]["loss"]), *bound, reason, **facts))
    return _or_missing(found, "quantized-pretrained")


@published(
    note="002",
    section="follow-up study",
    sentence="Half to four fifths of key dimensions can be left out at no cost.",
    figure="loss .0366",
)
def half_the_key_dimensions_are_free(evidence: Measurements) -> list[Finding]:
    """Test the loss after removing half of each key head's dimensions, by contribution and in random order."""
    found: list[Finding] = []
    for name, record in _records(evidence, "pruned-dimensions"):
        message = f"Rise of the next-token loss without %d %% of the dimensions of every query and key, %s: {name}."
        for point in _points(record, "dimensions", "contribution"):
            words = (100 * point["fraction"], "those that contribute least on other documents")
            half = math.isclose(point["fraction"], 0.5)
            facts = {"unit": "nat/token", "null": f"{MARGIN}: no cost" if half else ""}
            loss = _interval(point["loss"])
            found.append(
                below(loss, MARGIN, message % words, **facts) if half else beside(loss, message % words, **facts)
            )
        for point in _points(record, "dimensions", "random"):
            words = (100 * point["fraction"], f"mean of {len(point['orders'])} random orders")
            found.append(beside(_interval(point["loss"]), message % words, unit="nat/token"))
        found.append(_fed(record, name))
    return _or_missing(found, "pruned-dimensions-pretrained")


@published(
    note="002",
    section="implications, 3",
    sentence="Layers 19 to 21, the last three, can be pruned without much loss.",
    figure="qualitative",
)
def deep_redundant_layers_can_be_pruned(evidence: Measurements) -> list[Finding]:
    """The last three layers of the note's sizes, each alone; the last three of a trained model at once, beside."""
    found: list[Finding] = []
    for model, name in MODELS.items():
        try:
            record = evidence.document(f"pruned-layers-{model}")
        except NotMeasured:
            continue
        found += _last_layers(record, name, decides=model == NOTE)
    found += _last_at_once(evidence)
    if not any(one.verdict != Verdict.INFO for one in found):
        raise NotMeasured(f"pruned-layers-{NOTE}")
    return sorted(found, key=lambda one: one.verdict == Verdict.INFO)


@published(
    note="002",
    section="implications, 3",
    sentence="Redundancy of keys tells which layers can be pruned: those of few effective dimensions.",
    figure="qualitative: high redundancy suggests rank-deficient layers as candidates",
)
def redundant_layers_are_the_cheap_ones(evidence: Measurements) -> list[Finding]:
    """Attention of the layers with the most redundant keys left out, wherever they lie; random order beside."""
    found: list[Finding] = []
    for name, record in _records(evidence, "pruned-layers"):
        loss = float(record["labels"]["right"]["estimate"])
        point = _points(record, "layers", "effective rank")[0]
        message = (
            f"Rise of the loss without the attention of {100 * point['fraction']:g} % of the layers, whose keys have "
            f"the least effective rank on other documents; the loss is {loss:.2f}: {name}."
        )
        facts = {"unit": "nat/token", "null": f"{LITTLE * loss:.3f}: 1 % of the loss"}
        found.append(below(_interval(point["loss"]), LITTLE * loss, message, **facts))
        found += [_saving(one, name) for one in record["savings"] if one["part"] == "layers"]
        found += [_relation(one, name) for one in record["correlations"] if one["under"] == "layers"]
    return _or_missing(found, "pruned-layers-pretrained")


def _fed(record: Mapping[str, Any], name: str) -> Finding:
    labels = record["labels"]
    message = (
        "Loss by the tokens that were just fed, as in the study, where a copy is what is asked for; by the next token "
        f"it is {float(labels['right']['estimate']):.2f}: {name}."
    )
    return beside(_interval(labels["fed"]), message, unit="nat/token")


def _saving(one: Mapping[str, Any], name: str) -> Finding:
    """What a ranking saves, and its place among random orders; by measured price it is the best there is."""
    message = (
        f"Loss without {100 * one['fraction']:g} % of the layers in random order, less that by {one['ranking']}; p is "
        f"its place among random orders: {name}."
    )
    facts = {"unit": "nat/token", "null": "0: a random choice", "p": one["p"]}
    saved = _interval(one["saved"])
    if one["ranking"] == "price":
        return beside(saved, message, **facts)
    found = above(saved, 0.0, message, **facts)
    return _by_chance(found) if found.verdict == Verdict.PASS else found


def _relation(one: Mapping[str, Any], name: str) -> Finding:
    """Redundancy says what may go: cheap layers have the least effective rank, and the largest cosine."""
    word = one["x"].replace("_", " ")
    message = (
        f"Rank correlation of {word} of keys with the price of a layer, over layers; p asks whether unrelated layers "
        f"would show as much: {name}."
    )
    facts = {"null": "0", "p": one["p"]}
    decide = below if one["x"] == "centred_cosine" else above
    return _by_chance(decide(_interval({**one, "n": one["items"]}), 0.0, message, **facts))


def _by_chance(finding: Finding) -> Finding:
    """What luck would show as often settles nothing, however narrow its interval over documents."""
    if finding.verdict == Verdict.INSUFFICIENT or (finding.p is not None and finding.p <= LEVEL):
        return finding
    return replace(finding, verdict=Verdict.INSUFFICIENT, reason=f"{finding.reason} Not beyond chance.")


def _last_layers(record: Mapping[str, Any], name: str, decides: bool) -> list[Finding]:
    """Prices of the last layers, each alone and over documents; the mean of the others' in words."""
    units = [one for one in record["units"] if one["part"] == "layers" and one["price"] is not None]
    if len(units) < FEW * LAST:
        return []
    loss = float(record["labels"]["right"]["estimate"])
    elsewhere = np.mean([one["price"]["estimate"] for one in units[:-LAST]])
    found = []
    for place, one in enumerate(units[-LAST:], start=len(units) - LAST):
        message = (
            f"Rise of the loss without the attention of layer {place} alone (over the others {elsewhere:.3f}): {name}."
        )
        price = _interval(one["price"])
        facts: dict[str, Any] = {"unit": "nat/token"}
        if decides:
            found.append(below(price, LITTLE * loss, message, null=f"{LITTLE * loss:.3f}: 1 % of the loss", **facts))
        else:
            found.append(beside(price, message, **facts))
    return found


def _last_at_once(evidence: Measurements) -> list[Finding]:
    """The attention of the last three layers of a trained model left out together."""
    try:
        found = evidence.document("literature-last_layers")
    except NotMeasured:
        return []
    rise = mean_interval(np.asarray(found["without"]) - np.asarray(found["intact"]))
    layers = ", ".join(map(str, found["layers"]))
    message = (
        f"Rise of the loss without the attention of the last three layers ({layers}) at once: {MODELS['pretrained']}."
    )
    return [beside(rise, f"{message} It is another model than the note's.", unit="nat/token")]


def _records(evidence: Measurements, what: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a command wrote for each model it was run on."""
    for model, name in MODELS.items():
        try:
            yield name, evidence.document(f"{what}-{model}")
        except NotMeasured:
            continue


def _points(record: Mapping[str, Any], part: str, ranking: str) -> list[Mapping[str, Any]]:
    curves = [one for one in record["curves"] if (one["part"], one["ranking"]) == (part, ranking)]
    return [point for curve in curves for point in curve["points"]]


def _interval(effect: Mapping[str, Any]) -> Interval:
    """An effect of a document, whose undefined numbers are null there."""
    estimate, low, high = (
        math.nan if effect[name] is None else float(effect[name]) for name in ("estimate", "low", "high")
    )
    return Interval(estimate, low, high, int(effect["n"]), 1 - LEVEL)


def _or_missing(found: list[Finding], name: str) -> list[Finding]:
    if not found:
        raise NotMeasured(name)
    return found
