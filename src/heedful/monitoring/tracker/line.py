"""Format one recorded step as one terminal line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 80


def step_line(step: int, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one line of at most 80 columns on a recorded step; alarms follow on further lines.

    Least and largest head of each: norm of keys (mean), entropy over its most, mass on the first key; then the largest
    mean cosine of keys, raw and about their mean.

    Args:
        step: Number of the step.
        rows: Its rows of the table.
    """
    whole: Mapping[str, Any] = next((row for row in rows if row["part"] == "step"), {})
    words = [
        f"step {step}",
        f"loss {_number(whole.get('loss'))}",
        f"|k| {_range(rows, 'key', 'norm_mean', 1)}",
        f"H {_range(rows, 'attention', 'entropy_share', 2)}",
        f"sink {_range(rows, 'attention', 'sink_mass', 2)}",
        f"cos {_most(rows, 'cosine')} ({_most(rows, 'centred_cosine')})",
        f"grad {_number(whole.get('gradient_norm'))}",
    ]
    return " ".join(words)[:WIDTH]


def head_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a head: deviation of its rows, nats from uniform, entropy over its most, largest logit, first key, label.

    Args:
        rows: Those of a step.
    """
    found = []
    for row in (row for row in rows if row["part"] == "attention" and "label" in row):
        name = " ".join(part for part in (f"L{row['layer']}H{row['head']}", row.get("irrep", "")) if part)
        words = [
            f"  {name} row_std {_number(row['row_std_seed'])}",
            f"KL {_number(row['concentration'])}",
            f"H {_short(row['entropy_share'], 2)}",
            f"logit {_number(row['max_logit'])}",
            f"sink {_short(row['sink_mass'], 2)}",
            str(row["label"]),
        ]
        found.append(" ".join(words)[:WIDTH])
    return found


def _values(rows: Sequence[Mapping[str, Any]], part: str, name: str) -> list[float]:
    found = [row[name] for row in rows if row["part"] == part and row.get("stage") in (None, "after") and name in row]
    return [value for value in found if value is not None and not math.isnan(value)]


def _range(rows: Sequence[Mapping[str, Any]], part: str, name: str, digits: int) -> str:
    values = _values(rows, part, name)
    return f"{_short(min(values), digits)}-{_short(max(values), digits)}" if values else "-"


def _most(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    values = _values(rows, "key", name)
    return _short(max(values), 2) if values else "-"


def _short(value: float, digits: int) -> str:
    """A number without the zero before its point."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3g}"
