"""Diversity of Gaussian beliefs in one call of divergence attention, as sums that merge, and as a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from heedful.capture import AttentionEvent
from heedful.gauge import Gaussians, divergences
from heedful.keys import Sample, Sums

ROWS = 32
"""Queries of a sequence whose divergences are taken."""


def belief_sums(event: AttentionEvent, sample: Sample, turn: int) -> Sums:
    """Sums over pairs of a query and an earlier key, and over tokens, of each head; nothing where there are no beliefs.

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
    some = replace(queries, **{f.name: getattr(queries, f.name).detach()[:sequences, :, rows] for f in fields(queries)})
    others = replace(keys, **{f.name: getattr(keys, f.name).detach()[:sequences] for f in fields(keys)})
    earlier = (torch.arange(others.mean.shape[2], device=rows.device) < rows[:, None]).expand(len(some.mean), -1, -1)
    if real is not None:
        seen = real[:sequences]
        earlier = earlier & seen[:, None] & seen[:, rows, None]
    pairs = earlier[:, None].expand(-1, some.mean.shape[1], -1, -1)
    apart = torch.where(pairs, divergences(some, others).clamp_min(0), 0.0)
    distance = torch.where(pairs, torch.cdist(some.mean, others.mean), 0.0)
    variance = others.log_variance.exp()
    added = {
        "pairs": pairs.sum((0, 2, 3)),
        "kl": apart.sum((0, 2, 3)),
        "kl_square": apart.square().sum((0, 2, 3)),
        "distance": distance.sum((0, 2, 3)),
        "variance": variance.mean(-1).sum((0, 2)),
        "tokens": torch.full_like(variance[0, :, 0, 0], len(variance) * variance.shape[2]),
    }
    near = torch.where(pairs, 1 / (1 + apart), 0.0)  # a least number is a largest one of these
    maxima = {
        "kl": apart.amax((0, 2, 3)),
        "near": near.amax((0, 2, 3)),
        "variance": variance.amax((0, 2, 3)),
        "precision": (1 / variance).amax((0, 2, 3)),
    }
    return {name: value.double() for name, value in added.items()}, {n: value.double() for n, value in maxima.items()}


def belief_rows(sums: Sums) -> list[dict[str, float]]:
    """Columns of each head: mean, deviation and range of its divergences, mean distance of its means, variances.

    Args:
        sums: Those of ``belief_sums``, merged over processes.
    """
    if "kl" not in sums.added:
        return []
    added, largest = sums.added, sums.maxima
    mean = added["kl"] / added["pairs"]
    columns = {
        "kl_mean": mean,
        "kl_sd": (added["kl_square"] / added["pairs"] - mean.square()).clamp_min(0).sqrt(),
        "kl_min": 1 / largest["near"] - 1,
        "kl_max": largest["kl"],
        "mean_distance": added["distance"] / added["pairs"],
        "variance_mean": added["variance"] / added["tokens"],
        "variance_min": 1 / largest["precision"],
        "variance_max": largest["variance"],
    }
    lists = {name: value.tolist() for name, value in columns.items()}
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def belief_line(rows: Sequence[Mapping[str, Any]]) -> str:
    """The beliefs of a recorded step in a line: per irrep the mean divergence and its deviation, means over heads.

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


def angle_spread(model: nn.Module, ids: Tensor | None) -> Tensor | None:
    """Spread of the angles of tokens, as the model's tables of beliefs have them; None where it has no frames.

    Args:
        model: Any model.
        ids: ``(batch, token)``, or None where the forward was given none by name.
    """
    tables: Any = next((module for module in model.modules() if hasattr(module, "angle_spread")), None)
    return None if tables is None or ids is None else tables.angle_spread(ids)
