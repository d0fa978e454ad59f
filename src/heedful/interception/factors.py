"""Describe what each tensor axis stands for: tokens, sequences, or features of a projection.

An axis is a list of factors, outermost first. ``reshape(batch * heads, n, dim)`` leaves a first axis of two factors,
and their order tells ``(batch * heads)`` from ``(heads * batch)``, whatever the sizes are. A factor is a kind, a length
and a step: how many features of the projection lie between its neighbours (0: not known). Kinds of factors:

``lead``     sequences or positions: axes that a projection leaves alone
``feature``  outputs of a projection: heads, and components of a head
``weight``   an axis of a parameter
``copy``     made by ``expand`` or ``repeat``
``?``        not known
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Factor = tuple[str, int, int]
Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]

LEAD, FEATURE, WEIGHT, COPY, UNKNOWN = "lead", "feature", "weight", "copy", "?"


def best_of(axes: Sequence[Axis]) -> Axis:
    """Return the most informative of several descriptions of one axis: known before unknown, and among these, copies
    and parameter axes last.
    """
    return min(axes, key=lambda axis: (UNKNOWN in kinds(axis), bool(axis) and kinds(axis) <= {COPY, WEIGHT}))


def kinds(axis: Axis) -> set[str]:
    """Return what an axis consists of (tokens, sequences, features ...), as a set; empty for length 1."""
    return {kind for kind, _, _ in axis}


def unknown(shape: Sequence[int]) -> Axes:
    """Return descriptions of axes about which nothing is known."""
    return tuple(factor_of(UNKNOWN, size) for size in shape)


def factor_of(what: str, size: int, step: int | None = None) -> Axis:
    """Return the description of an axis with one kind of content, such as tokens; an empty tuple if its length is 1."""
    return ((what, size, int(what == FEATURE) if step is None else step),) if size > 1 else ()


def length_of(axis: Axis) -> int:
    """Return the length of an axis."""
    if len(axis) == 1:
        return axis[0][1]
    return math.prod([size for _, size, _ in axis])


def resized(axis: Axis, size: int) -> Axis:
    """Return the description of an axis whose length became ``size`` by slicing or appending; unknown if its factors
    do not fit that length.
    """
    total = length_of(axis)
    if total == size:
        return axis
    if not axis:
        return factor_of(UNKNOWN, size)
    if len(kinds(axis)) == 1:
        return factor_of(axis[0][0], size, axis[-1][2])
    (kind, _, step), rest = axis[0], axis[1:]
    inner = length_of(rest)
    return (*factor_of(kind, size // inner, step), *rest) if size % inner == 0 else factor_of(UNKNOWN, size)


def merged(candidates: list[Axes]) -> Axes:
    """Combine several descriptions of the same axes: for each axis, return the most informative one, by ``best_of``."""
    return tuple(best_of(column) for column in zip(*candidates, strict=True))
