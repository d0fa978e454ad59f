"""Gather head arrays that are sharded over processes: concatenate the heads, and take the maximum over processes of
values without a head axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.distributed.ranks import Ranks
from heedful.interception.held_heads import HeldHeads

Array = NDArray[np.float64]

WITHOUT_HEADS = ("entering_spread", "output_error", "output_limit", "query", "n_keys")
"""Arrays of probes whose second axis, if any, is not the head: the same in every process, or the worst of its heads."""


def whole_heads(
    layers: Sequence[tuple[HeldHeads | None, Mapping[str, Array]]], ranks: Ranks, rows: int
) -> list[dict[str, Array]]:
    """Gather every process's heads into the arrays that one process would have measured, by one all-reduce.

    Args:
        layers: For each layer which heads are here, None for all, and name to ``(sequence, own heads, ...)``, or
            ``(sequence, ...)`` for those of ``WITHOUT_HEADS``.
        ranks: The processes.
        rows: Number of sequences.

    Returns:
        For each layer name to ``(sequence, all heads, ...)`` or ``(sequence, ...)``.

    Raises:
        RankLost: A process ended, hung, or measured arrays of other shapes.
    """
    names = [sorted(values) for _, values in layers]
    spaced = [
        _in_all_heads(values[name], part) if _has_heads(name, part) else _slot(values[name], ranks)
        for (part, values), listed in zip(layers, names, strict=True)
        for name in listed
    ]
    merged = iter(ranks.merged(spaced, np.ones(rows, dtype=bool)))
    return [
        {name: next(merged) if _has_heads(name, part) else next(merged).max(axis=1) for name in listed}
        for (part, _), listed in zip(layers, names, strict=True)
    ]


def _has_heads(name: str, part: HeldHeads | None) -> bool:
    return part is not None and name not in WITHOUT_HEADS


def _in_all_heads(own: Array, part: HeldHeads | None) -> Array:
    """Own heads in their places among all, 0 in the others': ``(sequence, all heads, ...)``."""
    held, (rank, count) = own.shape[1], (0, 1) if part is None else (part.rank, part.count)
    whole = np.zeros((len(own), held * count, *own.shape[2:]))
    whole[:, rank * held : (rank + 1) * held] = own
    return whole


def _slot(own: Array, ranks: Ranks) -> Array:
    """An array in this process's place among all of them: ``(sequence, process, ...)``."""
    whole = np.zeros((len(own), ranks.count, *own.shape[1:]))
    whole[:, ranks.rank] = own
    return whole
