"""Draw the measurements of derived attention as figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heedful.inference.interval import Interval
from heedful.ngrams.derivation.recipe import RECIPES
from heedful.ngrams.explanation.page import (
    entropy_and_ceiling,
    expected_and_actual,
    scale_effects,
    singular_values,
    skill_by_head,
)
from heedful.reporting.drawing import Drawn, save_drawn
from heedful.reporting.figure import Figure
from reproductions.counts.measuring import PICTURED
from reproductions.counts.sweeping import PUBLISHED, SCALES
from reproductions.counts.tables import by_unit, over_units, skill
from reproductions.evidence import Measurements

ARMS = {"published": "as published", "kept": "embeddings kept"}
PANELS = {
    "expected": "expected from the counts",
    "published": "as published",
    "kept": "embeddings kept",
    "log P": "log P, embeddings kept",
}


def save_pictures(evidence: Measurements, folder: Path) -> list[Path]:
    """Save all figures as SVG and PNG, and return the paths.

    Args:
        evidence: Measurements.
        folder: Where.

    Returns:
        The files.

    Raises:
        NotMeasured: Something they show is missing.
        OutputError: One could not be written.
    """
    shown: dict[str, Any] = evidence.document(PICTURED)
    panels = [(title, cells(shown["weights"][name])) for name, title in PANELS.items()]
    charts = {
        "scale_effects": scale_effects(*scale_rows(evidence)),
        "expected_and_actual": expected_and_actual(panels, shown["tokens"]),
        "skill_by_head": skill_by_head(head_rows(evidence)),
        "singular_values": singular_values(shown["singular_values"], RECIPES["seed"].head_dim),
        "entropy_and_ceiling": entropy_and_ceiling(entropy_rows(shown["entropy"]), float(np.log(len(shown["tokens"])))),
    }
    drawn = [
        Drawn(Figure(name=name, title=name, caption="", chart=lambda _: None), chart) for name, chart in charts.items()
    ]
    return save_drawn(drawn, folder, overwrite=True)


def scale_rows(evidence: Measurements) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return chart rows by scale: concentration of all layers as published, and skill of the first layer."""
    focus, found = [], []
    for measure, word in (("of_ceiling", "entropy over its ceiling"), ("largest", "largest weight")):
        for std in SCALES:
            value = over_units(by_unit(evidence, "sweep", measure, arm="published", std=std))
            focus.append({"std": std, "series": f"{word}, all layers", **_numbers(value)})
    for arm, word in ARMS.items():
        for std in SCALES:
            value = over_units(skill(evidence, "heads", arm, std=std, layer=0))
            found.append({"std": std, "series": f"{word}, first layer", **_numbers(value)})
    return focus, found


def head_rows(evidence: Measurements) -> list[dict[str, Any]]:
    """Return chart rows with the skill of every head at the published scale."""
    recipe = RECIPES["seed"]
    return [
        {
            "place": f"L{layer}H{head}",
            "series": f"{word}, deviation {PUBLISHED:g}",
            **_numbers(over_units(skill(evidence, "heads", arm, std=PUBLISHED, layer=layer, head=head))),
        }
        for arm, word in ARMS.items()
        for layer in range(recipe.layers)
        for head in range(recipe.heads)
    ]


def entropy_rows(layers: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Return chart rows of entropy by position: the maximum, the first and the last layer."""
    ceiling = np.log(np.arange(1, len(layers[0]) + 1)).tolist()
    ends = {f"layer {number}, deviation {PUBLISHED:g}": layers[number] for number in (0, len(layers) - 1)}
    series = {"uniform attention: the ceiling": ceiling} | ends
    return [
        {"position": place, "series": name, "nats": value}
        for name, values in series.items()
        for place, value in enumerate(values)
    ]


def cells(weights: Sequence[Sequence[float | None]]) -> list[dict[str, Any]]:
    """Return a square weight matrix as chart rows, without later keys and undefined weights."""
    return [
        {"query": query, "key": key, "weight": value}
        for query, row in enumerate(weights)
        for key, value in enumerate(row[: query + 1])
        if value is not None
    ]


def _numbers(found: Interval) -> dict[str, float]:
    return {"mean": float(found.estimate), "low": float(found.low), "high": float(found.high)}
