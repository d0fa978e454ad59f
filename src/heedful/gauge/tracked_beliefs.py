"""Track the diversity of Gaussian beliefs in an attention call, as mergeable sums and as a line of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heedful.gauge.beliefs import Gaussians
from heedful.gauge.diversity import at_rows, diversity_columns, diversity_sums
from heedful.gauge.evidence_beliefs import belief_tables
from heedful.interception.event import AttentionEvent
from heedful.monitoring.tracker.part import TRACKER_PARTS, TrackerPart
from heedful.monitoring.vectors.sample import Sample
from heedful.monitoring.vectors.sums import Sums

ROWS = 32
"""Queries of a sequence whose divergences are taken."""


def belief_sums(event: AttentionEvent, sample: Sample, turn: int) -> Sums:
    """Return sums per head over (query, earlier key) pairs and over tokens; empty without beliefs.

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
    """Return columns for each head: mean, SD and range of divergences, mean distance, variances.

    Args:
        sums: Those of ``belief_sums``, merged over processes.
    """
    if "kl" not in sums.added:
        return []
    columns = diversity_columns(sums.added, sums.maxima)
    lists = {name: value.tolist() for name, value in columns.items()}
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def belief_line(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one line on a step: for each irrep, mean and SD of the divergence over heads.

    Args:
        rows: The step's rows of the table.

    Returns:
        At most 80 columns; the empty string where there are no beliefs.
    """
    found = [row for row in rows if row["part"] == "beliefs" and row.get("head") is not None]
    if not found:
        return ""
    irreps = list(dict.fromkeys(str(row.get("irrep", "")) for row in found))
    apart = []
    for irrep in irreps:
        own = [row for row in found if str(row.get("irrep", "")) == irrep]
        apart.append(f"{irrep} {_mean(own, 'kl_mean'):.2g}±{_mean(own, 'kl_sd'):.2g}")
    spread = next((row["angle_spread"] for row in rows if "angle_spread" in row), math.nan)
    low, high = min(row["variance_min"] for row in found), max(row["variance_max"] for row in found)
    words = (
        f"  KL {' '.join(apart)} |mu-mu'| {_mean(found, 'mean_distance'):.2g} phi {spread:.2g} var {low:.2g}-{high:.2g}"
    )
    return words[:80]


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def angle_spread(model: nn.Module, ids: Tensor | None) -> dict[str, Tensor]:
    """Return the standard deviation of frame angles over tokens, from the belief tables; empty without frames.

    Args:
        model: Any model.
        ids: ``(batch, token)``, or None where the forward was given none by name.
    """
    tables = belief_tables(model)
    return {} if tables is None or ids is None else {"angle_spread": tables.angle_spread(ids)}


TRACKER_PARTS.add("beliefs", TrackerPart(sums=belief_sums, rows=belief_rows, step=angle_spread, line=belief_line))
