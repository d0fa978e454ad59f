"""Measure how far the Gaussian beliefs of one attention call differ, as sums that can be merged, and format them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heedful.gauge.beliefs import Gaussians
from heedful.gauge.evidence_beliefs import at_rows, belief_tables, diversity_columns, diversity_sums
from heedful.interception.event import AttentionEvent
from heedful.monitoring.tracker.part import TRACKER_PARTS, TrackerPart
from heedful.monitoring.vectors.sums import Sums
from heedful.monitoring.vectors.vectors import Sample

ROWS = 32
"""Queries of a sequence whose divergences are taken."""


def belief_sums(event: AttentionEvent, sample: Sample, turn: int) -> Sums:
    """Return each head's sums and maxima of how far beliefs differ, over pairs of a query and an earlier key; empty
    without beliefs.

    Args:
        event: The call, while its kernel waits.
        sample: How much of the batch is measured.
        turn: How often was measured before.
    """
    asked = getattr(event.module, "asked", None)
    if asked is None:
        return Sums({}, {})
    count = asked[0][0].mean.shape[2]
    rows = Sample(sequences=sample.sequences, positions=ROWS).places(count, turn, event.call.query.device)
    real = event.call.visibility.keys
    groups = zip(asked[0], asked[1], strict=True)
    found = [_group_sums(one, other, rows, sample.sequences, real) for one, other in groups]
    added, maxima = (
        {name: torch.cat([part[name] for part in side]) for name in side[0]} for side in zip(*found, strict=True)
    )
    return Sums(added, maxima)


def _group_sums(
    queries: Gaussians, keys: Gaussians, rows: Tensor, sequences: int, real: Tensor | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    some, others = at_rows(queries, sequences, rows), at_rows(keys, sequences)
    added, maxima = diversity_sums(some, others, rows, None if real is None else real[:sequences])
    return {name: value.sum(0) for name, value in added.items()}, {name: v.amax(0) for name, v in maxima.items()}


def belief_rows(sums: Sums) -> list[dict[str, float]]:
    """Convert the sums of ``belief_sums`` to one dict per head, with means, SDs and ranges.

    Args:
        sums: Those of ``belief_sums``, merged over processes.
    """
    if "kl" not in sums.added:
        return []
    columns = diversity_columns(sums.added, sums.maxima)
    lists = {name: value.tolist() for name, value in columns.items()}
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def belief_line(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the beliefs of a recorded step as text: one line over all heads, then one line per head with its irrep.

    ``row_std`` is the deviation of a row of weights, as note 001 judges heads by; ``KL`` the mean divergence with its
    deviation and range in nats, ``|mu-mu'|`` the mean distance of two means, ``phi`` the spread of the frames' angles,
    ``sigma`` the mean and range of variances.

    Args:
        rows: The step's rows of the table.

    Returns:
        Lines of at most 80 columns; the empty string where there are no beliefs.
    """
    found = [row for row in rows if row["part"] == "beliefs" and row.get("head") is not None]
    if not found:
        return ""
    spread = next((row["angle_spread"] for row in rows if "angle_spread" in row), math.nan)
    weights = {_place(row): row for row in rows if row["part"] == "attention"}
    mean = _mean(found, "kl_mean")
    # Over heads with as many pairs each: the mean variance inside them, and that of their means.
    sd = math.sqrt(sum(row["kl_sd"] ** 2 + (row["kl_mean"] - mean) ** 2 for row in found) / len(found))
    whole = {"kl_mean": mean, "kl_sd": sd, "mean_distance": _mean(found, "mean_distance")}
    whole |= {name: min(row[name] for row in found) for name in ("kl_min", "variance_min")}
    whole |= {name: max(row[name] for row in found) for name in ("kl_max", "variance_max")}
    lines = [f"  {_belief_words(whole)} phi {spread:.2g}"]
    for row in found:
        irrep, deviation = row.get("irrep", ""), weights.get(_place(row), {}).get("row_std_seed", math.nan)
        lines.append(f"  L{row.get('layer', 0)}H{row['head']} {irrep} row_std {deviation:.2g} {_belief_words(row)}")
    return "\n".join(line[:80] for line in lines)


def _place(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row.get("layer"), row["head"]


def _belief_words(row: Mapping[str, Any]) -> str:
    divergence = f"KL {row['kl_mean']:.2g}±{row['kl_sd']:.1g} [{row['kl_min']:.1g}, {row['kl_max']:.2g}]"
    return f"{divergence} |mu-mu'| {row['mean_distance']:.2g} sigma {row['variance_min']:.2g}-{row['variance_max']:.2g}"


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def angle_spread(model: nn.Module, ids: Tensor | None) -> dict[str, Tensor]:
    """Return the standard deviation of frame angles over tokens as ``{"angle_spread": ...}``; an empty dict if the
    model has no belief tables or ``ids`` is None.

    Args:
        model: Any model.
        ids: ``(batch, token)``, or None where the forward was given none by name.
    """
    tables = belief_tables(model)
    return {} if tables is None or ids is None else {"angle_spread": tables.angle_spread(ids)}


TRACKER_PARTS.add("beliefs", TrackerPart(sums=belief_sums, rows=belief_rows, step=angle_spread, line=belief_line))
