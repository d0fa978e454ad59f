"""Small reports whose documents and values are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heedful.evaluation.result import Finding, HeadRow, Report, Section
from heedful.inference.verdict import Verdict

NAMES = tuple(f"{index:016x}" for index in range(32))


def values(mean: float, spread: float = 1.0, count: int = 32, seed: int = 0) -> list[float]:
    """Values with exactly this mean and this sample deviation."""
    drawn = np.random.default_rng(seed).standard_normal(count)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1)
    return [float(value) for value in mean + spread * drawn]


def finding(
    claim: str = "own_text_matters",
    verdict: str = "PASS",
    units: Sequence[float | None] | None = None,
    **more: Any,
) -> Finding:
    """A finding; with units, its estimate and Student's interval are theirs."""
    known: dict[str, Any] = {"reason": "because", "unit": "nat/token", "n": 0, "threshold": 0.01}
    if units is not None:
        there = np.array([value for value in units if value is not None])
        half = 2.04 * there.std(ddof=1) / np.sqrt(len(there))
        mean = float(there.mean())
        known |= {"estimate": mean, "interval": (mean - half, mean + half), "n": len(there), "units": units}
    return Finding(claim=claim, verdict=Verdict(verdict), **{**known, **more})


def head(number: int = 0, verdict: str = "WEAK", pattern: str = "", **statistics: float) -> HeadRow:
    return HeadRow(
        layer=0,
        module="h.0.attn",
        head=number,
        label=f"L0H{number}",
        verdict=verdict,
        pattern=pattern,
        statistics={"effective_keys": 10.0, **statistics},
    )


def report(
    *findings: Finding, names: Sequence[str] | None = NAMES, heads: Sequence[HeadRow] = (), **more: Any
) -> Report:
    data = {"documents": 0 if names is None else len(names), "fingerprint": "f"}
    known: dict[str, Any] = {
        "verdict": Verdict.PASS,
        "model": {"name": "m"},
        "data": data if names is None else {**data, "document_fingerprints": list(names)},
        "settings": {"seed": 0, "margins": {"loss": 0.01}},
        "versions": {"heedful": "0.1.0"},
        "sections": [Section(number=9, title="Ablation", findings=findings)],
        "heads": heads,
        "not_measured": [],
        "summary": {},
    }
    return Report(**{**known, **more})
