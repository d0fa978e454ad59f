"""Draw the measurements of the gauge experiment as figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars

from heedful.gauge.belief_measures import simulated_concentration
from heedful.gauge.page_spins import LEAST, MOST, expected_and_found, spin_by_rule
from heedful.reporting.drawing import Drawn, save_drawn
from heedful.reporting.figure import Figure
from reproductions.evidence import Measurements, NotMeasured
from reproductions.gauge.tables import LABELS, by_seed, over_seeds

CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "one kappa": ("deciding", {"kappa_rule": "shared", "token_frames": "learned"}),
    "learned": ("rules", {"kappa_rule": "learned"}),
    "times \u221ad": ("rules", {"kappa_rule": "sqrt"}),
    "times d": ("rules", {"kappa_rule": "dim"}),
    "calibrated": ("deciding", {"kappa_rule": "calibrated", "token_frames": "learned"}),
    "calibrated, no frames": ("deciding", {"kappa_rule": "calibrated", "token_frames": "none"}),
    "calibrated, positions": ("positions", {}),
}
"""What a column of the first figure is called: its table and cell."""

KEYS, HEADS, POINTS = 64, 16, 24
FIRST = Figure[object](
    name="spin_by_rule", title="Concentration by rule of temperature", caption="", chart=lambda _: None
)
SECOND = Figure[object](name="expected_and_found", title="Theory and heads", caption="", chart=lambda _: None)


def save_pictures(evidence: Measurements, folder: Path) -> list[Path]:
    """Save both figures as SVG and PNG, and return the paths.

    Args:
        evidence: Measurements; cells that are missing are left out.
        folder: Where.

    Returns:
        The files.

    Raises:
        OutputError: One could not be written.
    """
    drawn = [
        Drawn(FIRST, spin_by_rule(rule_rows(evidence))),
        Drawn(SECOND, expected_and_found(expected_rows(), found_rows(evidence))),
    ]
    return save_drawn(drawn, folder, overwrite=True)


def rule_rows(evidence: Measurements) -> list[dict[str, Any]]:
    """Return chart rows: mean concentration and interval for each cell and spin."""
    rows = []
    for name, (table, cell) in CELLS.items():
        for spin in LABELS:
            try:
                found = over_seeds(by_seed(evidence.table(table), "concentration", spin, **cell))
            except NotMeasured:
                continue
            numbers = {"mean": float(found.estimate), "low": float(found.low), "high": float(found.high)}
            rows.append({"cell": name, "spin": spin, **numbers})
    return rows


def expected_rows() -> list[dict[str, Any]]:
    """Return chart rows of simulated concentration by temperature: random beliefs, rows of 64 keys."""
    import torch

    draw = torch.Generator().manual_seed(0)
    ratios = [LEAST * (MOST / LEAST) ** (place / (POINTS - 1)) for place in range(POINTS)]
    return [
        {
            "spin": spin,
            "ratio": ratio,
            "nats": simulated_concentration(2 * int(spin[1:]) + 1, ratio, KEYS, draw, HEADS).deficit,
        }
        for spin in LABELS
        for ratio in ratios
    ]


def found_rows(evidence: Measurements) -> list[dict[str, Any]]:
    """Return chart rows of all untrained and trained heads: temperature over squared spread, and concentration."""
    rows: list[dict[str, Any]] = []
    for name in ("untrained", "deciding", "rules", "kappa"):
        try:
            table = evidence.table(name)
        except NotMeasured:
            continue
        if name == "kappa":
            table = table.filter(polars.col("alignment_weight") == 0.0)
        wide = (
            table.filter(polars.col("measure").is_in(["concentration", "kappa_over_spread"]))
            .group_by("run", "layer", "head", "measure")
            .agg(polars.col("value").first(), polars.col("label").str.slice(-2).first())
            .pivot(on="measure", index=["run", "layer", "head", "label"], values="value")
            .filter(polars.col("label").is_in(LABELS))
        )
        if not {"concentration", "kappa_over_spread"} <= set(wide.columns):
            continue  # beliefs were not measured
        rows += [
            {"spin": row["label"], "ratio": row["kappa_over_spread"], "nats": row["concentration"]}
            | {"trained": name != "untrained"}
            for row in wide.iter_rows(named=True)
            if LEAST <= row["kappa_over_spread"] <= MOST
        ]
    return rows
