"""Moments of attention by loops over every query and key, in float64, written from the formulas alone.

One row ``i`` of one head: ``logit_j = c tanh(s q.k_j / c) + b_j`` over the keys it sees, ``Z = log sum exp(logit_j)``
    (and
``exp(sink)`` where one is learned), ``A_j = exp(logit_j - Z)``. A row that sees nothing is NaN in every moment, 0 in
counts, in the output and in what keys receive.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

NEAR = 5
LOG_FLOOR = -30.0
BIN_EDGES = [0] + [2**power for power in range(17)]
NAN = float("nan")
ROW_MOMENTS = (
    "logsumexp",
    "total",
    "entropy",
    "max_weight",
    "collision",
    "mean_position",
    "self_mass",
    "previous_mass",
    "first_mass",
    "local_mass",
    "log_contrast",
)


def is_seen(call: dict[str, Any], b: int, h: int, i: int, j: int) -> bool:
    """Whether query ``i`` sees key ``j``: every rule given must allow it."""
    n_queries, n_keys = call["query"].shape[2], call["key"].shape[2]
    own = i + (n_keys - n_queries if call["offset"] is None else call["offset"])
    if call["causal"] and j > own:
        return False
    if call["window"] is not None and abs(own - j) >= call["window"]:
        return False
    if call["real_keys"] is not None and not call["real_keys"][b, j]:
        return False
    if call["real_queries"] is not None and not call["real_queries"][b, i]:
        return False
    if call["documents"] is not None and call["documents"][b, j] != document_of_query(call, b, i):
        return False
    return call["mask"] is None or bool(picked(call["mask"], b, h, i, j))


def document_of_query(call: dict[str, Any], b: int, i: int) -> int | None:
    """Label of a query's document: its own, or that of the key where it stands."""
    if call["query_documents"] is not None:
        return int(call["query_documents"][b, i])
    n_queries, n_keys = call["query"].shape[2], call["key"].shape[2]
    own = i + (n_keys - n_queries if call["offset"] is None else call["offset"])
    return int(call["documents"][b, own]) if 0 <= own < n_keys else None


def picked(array: np.ndarray, *index: int) -> Any:
    """An element of an array that broadcasts along axes of size 1."""
    return array[tuple(0 if size == 1 else at for at, size in zip(index, array.shape, strict=True))]


def own_position(call: dict[str, Any]) -> int | None:
    """Key position of query 0; None where queries and keys are two sequences."""
    n_queries, n_keys = call["query"].shape[2], call["key"].shape[2]
    if call["offset"] is not None:
        return int(call["offset"])
    return None if not call["causal"] and n_queries != n_keys else n_keys - n_queries


def weights(call: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights ``(batch, head, query, key)``, normalisers ``(batch, head, query)``, and what is seen."""
    batch, heads, n_queries, _ = call["query"].shape
    kv_heads, n_keys = call["key"].shape[1:3]
    weight = np.zeros((batch, heads, n_queries, n_keys))
    normaliser = np.full((batch, heads, n_queries), NAN)
    seen = np.zeros((batch, heads, n_queries, n_keys), dtype=bool)
    for b, h, i in np.ndindex(batch, heads, n_queries):
        logits = {}
        for j in range(n_keys):
            if is_seen(call, b, h, i, j):
                seen[b, h, i, j] = True
                logits[j] = logit(call, b, h, i, j, h // (heads // kv_heads))
        if not logits:
            weight[b, h, i] = NAN
            continue
        terms = list(logits.values()) + ([] if call["sink"] is None else [float(call["sink"][h])])
        peak = max(terms)
        normaliser[b, h, i] = peak + math.log(math.fsum(math.exp(term - peak) for term in terms))
        for j, value in logits.items():
            weight[b, h, i, j] = math.exp(value - normaliser[b, h, i])
    return weight, normaliser, seen


def logit(call: dict[str, Any], b: int, h: int, i: int, j: int, kv_head: int) -> float:
    """One logit after scale, softcap and bias."""
    value = call["scale"] * float(np.dot(call["query"][b, h, i], call["key"][b, kv_head, j]))
    if call["softcap"] is not None:
        value = call["softcap"] * math.tanh(value / call["softcap"])
    return value if call["bias"] is None else value + float(picked(call["bias"], b, h, i, j))


def moments(call: dict[str, Any], groups: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Every row and key moment of a call by its definition, and the output.

    Args:
        call: The call.
        groups: Membership of keys by name, ``(batch, query, key)`` or ``(batch, query, key, group)``.
    """
    weight, normaliser, seen = weights(call)
    batch, heads, n_queries, n_keys = weight.shape
    found = {name: np.full((batch, heads, n_queries), NAN) for name in ROW_MOMENTS}
    found["distance_mass"] = np.full((batch, heads, n_queries, len(BIN_EDGES)), NAN)
    start = own_position(call)
    for b, h, i in np.ndindex(batch, heads, n_queries):
        keys = [j for j in range(n_keys) if seen[b, h, i, j]]
        if not keys:
            continue
        first = min(j for j in range(n_keys) if seen[b, :, queries_beside(call, b, i)][..., j].any())
        row = {j: weight[b, h, i, j] for j in keys}
        values = _plain_row(row, first)
        if start is not None:
            values |= _row_with_positions(row, i + start, first)
            found["distance_mass"][b, h, i] = _by_distance(row, i + start)
        for name, value in values.items():
            found[name][b, h, i] = value
    found["logsumexp"] = normaliser
    found["visible"] = seen.sum(-1)
    found["lag_overlap"], found["distant_overlap"] = _overlap(weight, 1), _overlap(weight, 10)
    filled = np.nan_to_num(weight)
    found["received"], found["seen_by"] = filled.sum(2), seen.sum(2)
    return found | _linear(call, weight, filled, seen, groups)


def queries_beside(call: dict[str, Any], b: int, i: int) -> list[int]:
    """Queries of the same document; all where there are no documents."""
    every = range(call["query"].shape[2])
    if call["documents"] is None:
        return list(every)
    return [other for other in every if document_of_query(call, b, other) == document_of_query(call, b, i)]


def _plain_row(row: dict[int, float], first: int) -> dict[str, float]:
    return {
        "total": math.fsum(row.values()),
        "entropy": -math.fsum(a * math.log(a) for a in row.values() if a > 0),
        "max_weight": max(row.values()),
        "collision": math.fsum(a * a for a in row.values()),
        "mean_position": math.fsum(a * (j - first) for j, a in row.items()),
        "first_mass": row.get(first, 0.0),
    }


def _row_with_positions(row: dict[int, float], own: int, first: int) -> dict[str, float]:
    near: list[float] = []
    far: list[float] = []
    for j, a in row.items():
        if j not in (own, first):
            (near if abs(own - j) <= NEAR else far).append(max(math.log(a), LOG_FLOOR) if a > 0 else LOG_FLOOR)
    contrast = math.fsum(near) / len(near) - math.fsum(far) / len(far) if near and far else NAN
    return {
        "self_mass": row.get(own, 0.0),
        "previous_mass": row.get(own - 1, NAN),
        "local_mass": math.fsum(a for j, a in row.items() if abs(own - j) <= NEAR),
        "log_contrast": contrast,
    }


def _by_distance(row: dict[int, float], own: int) -> list[float]:
    mass = [0.0] * len(BIN_EDGES)
    for j, a in row.items():
        mass[max(index for index, edge in enumerate(BIN_EDGES) if edge <= abs(own - j))] += a
    return mass


def _overlap(weight: np.ndarray, lag: int) -> np.ndarray:
    found = np.full(weight.shape[:3], NAN)
    for i in range(weight.shape[2] - lag):
        found[:, :, i] = (weight[:, :, i] * weight[:, :, i + lag]).sum(-1)
    return found


def _linear(
    call: dict[str, Any], weight: np.ndarray, filled: np.ndarray, seen: np.ndarray, groups: dict[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    found = {}
    repeated = call["query"].shape[1] // call["key"].shape[1]
    if call["value"] is not None:
        found["output"] = np.stack(
            [filled[:, h] @ call["value"][:, h // repeated] for h in range(weight.shape[1])], axis=1
        )
    for name, member in (groups or {}).items():
        line = "bhij,bijg->bhig" if member.ndim == 4 else "bhij,bij->bhi"
        found[f"{name}_mass"] = np.einsum(line, weight, member)
        found[f"{name}_visible"] = np.einsum(line, seen.astype(float), np.nan_to_num(member))
    return found
