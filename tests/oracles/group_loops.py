"""Which keys belong to what, for each query, by loops over labels: independent of the engine's sorting and columns.

``members`` says it as 0/1 arrays, from which any program makes masses (``sum_j A_ij m_ij``) and visible counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.oracles.attention_loops import own_position


def members(call: dict[str, Any], groups: dict[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """Membership by name: ``(batch, query, key)``, with an axis more for several groups; NaN where undefined.

    Args:
        call: The call in numpy, as ``attention_loops`` takes it.
        groups: ``keys``, ``segments``, ``tokens``, ``query_segments``, ``query_tokens``, each or None.
    """
    batch, _, n_queries, _ = call["query"].shape
    n_keys = call["key"].shape[2]
    found: dict[str, np.ndarray] = {}
    if groups["keys"] is not None:
        by_key = groups["keys"] if groups["keys"].ndim == 3 else _columns(groups["keys"])
        found["group"] = np.repeat(by_key[:, None].astype(float), n_queries, axis=1)
    if groups["segments"] is not None:
        found["segment"] = np.repeat(_columns(groups["segments"])[:, None], n_queries, axis=1)
        found["own_segment"] = np.zeros((batch, n_queries, n_keys))
    if groups["tokens"] is not None:
        found["same_token"] = np.zeros((batch, n_queries, n_keys))
        found["induction"] = np.zeros((batch, n_queries, n_keys))
    for name in ("own_segment", "same_token", "induction"):
        for b, i in np.ndindex(found[name].shape[:2]) if name in found else ():
            found[name][b, i] = _row(name, call, groups, b, i, n_keys)
    return found


def _columns(labels: np.ndarray) -> np.ndarray:
    found = np.zeros((*labels.shape, max(1, labels.max() + 1)))
    for b, j in np.ndindex(labels.shape):
        if labels[b, j] >= 0:
            found[b, j, labels[b, j]] = 1.0
    return found


def _row(name: str, call: dict[str, Any], groups: dict[str, np.ndarray | None], b: int, i: int, n_keys: int) -> Any:
    word = "segments" if name == "own_segment" else "tokens"
    labels, start = groups[word], own_position(call)
    own = None if start is None else i + start
    mine = -1
    if groups[f"query_{word}"] is not None:
        mine = groups[f"query_{word}"][b, i]  # type: ignore[index]
    elif own is not None and 0 <= own < n_keys:
        mine = labels[b, own]  # type: ignore[index]
    if mine < 0 or (name == "induction" and own is None):
        return [np.nan] * n_keys
    if name == "induction":
        return [float(_follows(call, labels, b, j, mine) and j - 1 < own) for j in range(n_keys)]  # type: ignore[operator]
    return [float(labels[b, j] == mine and not (name == "same_token" and j == own)) for j in range(n_keys)]  # type: ignore[index]


def _follows(call: dict[str, Any], tokens: Any, b: int, j: int, token: int) -> bool:
    """Whether the key before ``j`` is this token, is no padding, and is of the document of ``j``."""
    if j == 0 or tokens[b, j - 1] != token:
        return False
    if call["real_keys"] is not None and not call["real_keys"][b, j - 1]:
        return False
    return call["documents"] is None or call["documents"][b, j - 1] == call["documents"][b, j]
