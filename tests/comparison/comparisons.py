"""Comparisons without a model: one with everything in it, and one whose every text is hostile."""

from __future__ import annotations

from typing import Any

from heedful.comparison.record import Comparison, FindingChange, HeadChange
from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict


def finding(verdict: str = "PASS", reason: str = "As it should be.", **more: Any) -> Finding:
    return Finding(claim="own_text_matters", verdict=Verdict(verdict), reason=reason, **{"estimate": 1.0, **more})


def change(**more: Any) -> FindingChange:
    known: dict[str, Any] = {
        "claim": "own_text_matters",
        "section": 9,
        "layer": None,
        "before": finding(),
        "after": finding("WARN", "The loss rises by less.", estimate=0.5),
        "difference": -0.5,
        "interval": (-0.7, -0.3),
        "unit": "nat/token",
        "n": 32,
        "paired": True,
        "p": 0.0001,
        "p_adjusted": 0.003,
        "margin": 0.01,
        "regressions": ("verdict", "effect"),
    }
    return FindingChange(**{**known, **more})


def head(text: str = "", **more: Any) -> HeadChange:
    known: dict[str, Any] = {
        "module": f"h.0.attn{text}",
        "layer": 0,
        "head": 1,
        "label": f"L0H1{text}",
        "verdicts": ("SHARP", "WEAK"),
        "patterns": (f"previous token{text}", ""),
        "differences": {"effective_keys": 4.25, "sink_mass": float("nan"), "previous_mass": -0.25},
    }
    return HeadChange(**{**known, **more})


def comparison(text: str = "", **more: Any) -> Comparison:
    """A comparison with a regression; the text is appended to everything that a report could have made up."""
    known: dict[str, Any] = {
        "names": (f"old{text}", f"new{text}"),
        "verdicts": ("PASS", "WARN"),
        "context": [(f"model: name{text}", f"old{text}", f"new{text}")],
        "pairing": "paired by document: 32 documents are in both reports (32 and 32)",
        "findings": [
            change(),
            change(claim="rows_sum_to_one", before=finding(estimate=1e-7), after=finding(estimate=1e-7), difference=0.0)
            if not text
            else change(claim=f"claim{text}", after=finding("FAIL", f"Because {text}"), unit=f"nat{text}"),
            change(
                claim="extra", before=None, difference=None, interval=None, p=None, p_adjusted=None, reason="one only"
            ),
            change(layer=3, after=finding()),
        ],
        "head_verdicts": {f"previous_token{text}": (2, 24)},
        "heads": [head(text), head(head=2, label="L0H2", verdicts=("WEAK", "WEAK"), patterns=("", ""))],
        "heads_reason": f"one is alone{text}",
        "fail_on": ("verdict",),
        "regressions": [f"own_text_matters: PASS -> WARN: The loss rises by less.{text}"],
        "settings": {"seed": 0},
    }
    return Comparison(**{**known, **more})
