"""Convert merged sums to table rows.

Label each head by what it attends to, from the means of one recorded step.

Format one recorded step as one terminal line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from heedful.monitoring.tracker.layer import ATTENTION, BRIEF, EXTREMES, Layer
from heedful.monitoring.tracker.part import TRACKER_PARTS
from heedful.monitoring.vectors.sums import Sums, sequence_mean
from heedful.monitoring.vectors.vector_statistics import vector_statistics

Row = dict[str, Any]

WITH_INTERVAL = ("entropy_share", "concentration", "sink_mass", "logit_sd")
"""Statistics of rows whose interval over sequences is kept."""


def layer_rows(layer: Layer, sums: Sums) -> list[Row]:
    """Convert the sums of one layer to table rows: queries and keys at each stage, the attention of each head,
    extensions, sink share.

    Args:
        layer: The layer.
        sums: Those of ``layer_sums``, merged over processes.
    """
    rows = []
    for part in ("query", "key"):
        for stage in ("before", "after"):
            found = sums.within(f"{part}/{stage}/")
            if found.added:
                rows += [
                    {"part": part, "stage": stage, "head": head, **values}
                    for head, values in enumerate(_by_head(vector_statistics(found)))
                ]
    added = [
        {"part": name, "head": head, **row}
        for name, part in TRACKER_PARTS.items()
        for head, row in enumerate(part.rows(sums.within(f"{name}/")))
    ]
    attention = _attention_rows(sums.within("attention/"))
    named = attention + added
    if layer.irreps:
        named = [{**row, "irrep": layer.irreps[row["head"]]} for row in named]
    return [*rows, *named, {"part": "layer", "head": None, "sink_head_share": _sink_head_share(attention)}]


def _attention_rows(sums: Sums) -> list[Row]:
    """Rows of the heads; those of a brief record have fewer columns and no label."""
    added = sums.added
    brief = "concentration_sum" not in added
    columns: dict[str, Any] = {"sequences": added["entropy_share_sequences"]}
    for name in BRIEF if brief else ATTENTION:
        interval = sequence_mean(added, name)
        columns |= interval.named(name) if name in WITH_INTERVAL and not brief else {name: interval.mean}
    for name, sign in EXTREMES.items():
        most = sums.maxima[name]
        columns[name] = torch.where(most.isinf() & (most < 0), math.nan, most) * sign
    found: list[Row] = [
        {"part": "attention", "head": head, **({} if brief else {"label": head_label(values)}), **values}
        for head, values in enumerate(_by_head(columns))
    ]
    return [
        row | {"is_sink": math.nan if math.isnan(row["sink_mass"]) else float(row["sink_mass"] > SINK)} for row in found
    ]


def _sink_head_share(attention: list[Row]) -> float:
    """Share of a layer's heads whose mean weight on the first key is above .3; NaN where none is known."""
    known = [row["is_sink"] for row in attention if not math.isnan(row["is_sink"])]
    return sum(known) / len(known) if known else math.nan


def _by_head(columns: Mapping[str, Any]) -> list[dict[str, float]]:
    lists = {name: value.tolist() for name, value in columns.items()}
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def by_head(
    rows: list[Row], name: str, part: str = "attention", stage: str | None = None
) -> dict[tuple[int, int | None], float]:
    """Return one column of a step's table rows by (layer, head), without NaN.

    Args:
        rows: Those of a step.
        name: Column.
        part: Of which rows.
        stage: Of which stage, for queries and keys.
    """
    return {
        (row["layer"], row["head"]): row[name]
        for row in rows
        if row["part"] == part and row.get("stage") == stage and not math.isnan(row.get(name, math.nan))
    }


SINK = 0.3
"""Mass on the first key at which a head is called a sink (Gu et al. 2024, arXiv:2410.10781)."""

PATTERN = 0.4
"""Mass at which a named pattern is strong."""

DIFFUSE = 0.05
"""Nats from uniform below which a head is diffuse: just beyond untrained models."""

SHARP = 0.5
"""Largest weight from which a head is sharp, whatever it looks at."""


def head_label(values: Mapping[str, float]) -> str:
    """Return the first label that applies: sink, previous, self, local, sharp, diffuse; else mixed.

    Args:
        values: Means of a head: ``sink_mass``, ``previous_mass``, ``self_mass``, ``local_mass``, ``max_weight``,
            ``concentration``.

    Returns:
        One word; ``undefined`` where no row could be judged.
    """
    if math.isnan(values["concentration"]):
        return "undefined"
    if values["concentration"] < DIFFUSE:
        return "diffuse"
    named = {
        "sink": values["sink_mass"] > SINK,
        "previous": values["previous_mass"] > PATTERN,
        "self": values["self_mass"] > PATTERN,
        "local": values["local_mass"] > 2 * PATTERN,
        "sharp": values["max_weight"] > SHARP,
    }
    return next((word for word, holds in named.items() if holds), "mixed")


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
    """Format one line per head with its main statistics and label.

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
