"""Track axes through functions that reshape, slice, copy or concatenate tensors.

Describe what each tensor axis stands for: tokens, sequences, or features of a projection.

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
from typing import Any

from heedful.interception.lineage import INDICES, Node

PROJECTIONS = ("linear", "addmm", "matmul", "einsum", "conv1d", "conv2d", "bmm")
PIECES = ("chunk", "split", "tensor_split", "unbind", "select", "narrow", "__getitem__")


def _source(node: Node) -> Axes:
    first = node.parents[0]
    return first.axes  # type: ignore[no-any-return]


def alike(node: Node) -> Axes:
    """Return the axes of an elementwise result: of the operands with an axis's length, the most informative one
    describes it.
    """
    operands = sorted(node.parents, key=lambda parent: (parent.weight, not parent.content))
    found: list[Axis] = []
    for place, size in enumerate(node.shape):
        back = len(node.shape) - place
        axes = [p.axes[-back] for p in operands if len(p.shape) >= back and p.shape[-back] == size]
        best = best_of(axes) if axes else None
        if best is None:
            near = [p.axes[-back] for p in operands if len(p.shape) == len(node.shape)]
            best = resized(near[0], size) if near else factor_of(UNKNOWN, size)
        found.append(best)
    if any(len(parent.shape) > len(node.shape) for parent in node.parents):
        return unknown(node.shape)
    return tuple(found)


def viewed(node: Node) -> Axes:
    """Return the axes after ``view``: each old axis is a product of factors, which keep their order in the new axes."""
    left = [factor for axis in _source(node) for factor in axis]
    found: list[Axis] = []
    for size in node.shape:
        axis: list[Factor] = []
        while size > 1:
            kind, have, step = left.pop(0)
            if size % have == 0:
                axis.append((kind, have, step))
                size //= have
            elif have % size == 0:
                axis.append((kind, size, step * (have // size)))
                left.insert(0, (kind, have // size, step))
                size = 1
            else:
                raise ValueError("factors do not fit")
        found.append(tuple(axis))
    return tuple(found)


def _argument(node: Node, place: int, name: str, default: Any = None) -> Any:
    return node.kwargs.get(name, node.args[place] if len(node.args) > place else default)


def permuted(node: Node) -> Axes:
    """Return the axes after ``permute``."""
    axes = _source(node)
    order = _argument(node, 1, "dims")
    order = list(order) if isinstance(order, list | tuple) else list(node.args[1:])
    return tuple(axes[place] for place in order)


def transposed(node: Node) -> Axes:
    """Return the axes after ``transpose``."""
    axes = list(_source(node))
    one = _argument(node, 1, "dim0", node.kwargs.get("axis0"))
    other = _argument(node, 2, "dim1", node.kwargs.get("axis1"))
    axes[one], axes[other] = axes[other], axes[one]
    return tuple(axes)


def moved(node: Node) -> Axes:
    """Return the axes after ``movedim``."""
    axes = _source(node)
    source, target = _argument(node, 1, "source"), _argument(node, 2, "destination")
    sources = [s % len(axes) for s in (source if isinstance(source, list | tuple) else [source])]
    targets = [t % len(axes) for t in (target if isinstance(target, list | tuple) else [target])]
    order = [place for place in range(len(axes)) if place not in sources]
    for to, come in sorted(zip(targets, sources, strict=True)):
        order.insert(to, come)
    return tuple(axes[place] for place in order)


def all_axes_reversed(node: Node) -> Axes:
    """Return the axes after ``T`` or ``t``: reversed."""
    return tuple(reversed(_source(node)))


def last_two_exchanged(node: Node) -> Axes:
    """Return the axes after ``mT`` and equivalents: the last two exchanged."""
    axes = _source(node)
    return (*axes[:-2], axes[-1], axes[-2])


def expanded(node: Node) -> Axes:
    """Return the axes after ``expand``: axes of length 1 become copies."""
    axes = _source(node)
    axes = ((),) * (len(node.shape) - len(axes)) + axes
    return tuple(a if length_of(a) == size else factor_of(COPY, size) for a, size in zip(axes, node.shape, strict=True))


def repeated(node: Node) -> Axes:
    """Return the axes after ``Tensor.repeat``: copies are the outer factor of a repeated axis."""
    axes = _source(node)
    axes = ((),) * (len(node.shape) - len(axes)) + axes
    return tuple((*factor_of(COPY, size // length_of(a)), *a) for a, size in zip(axes, node.shape, strict=True))


def interleaved(node: Node) -> Axes:
    """Return the axes after ``repeat_interleave``: copies are the inner factor."""
    return tuple(
        (*a, *factor_of(COPY, size // length_of(a))) for a, size in zip(_source(node), node.shape, strict=True)
    )


def cut(node: Node) -> Axes:
    """Return the axes after slicing one or several of them."""
    return tuple(resized(axis, size) for axis, size in zip(_source(node), node.shape, strict=True))


def without(node: Node, default: int | None = None) -> Axes:
    """Return the axes after removing one, or keeping it with length 1."""
    axes = list(_source(node))
    if len(axes) == len(node.shape):
        return tuple(a if length_of(a) == size else resized(a, size) for a, size in zip(axes, node.shape, strict=True))
    dim = _argument(node, 1, "dim", default)
    gone = [d % len(axes) for d in (dim if isinstance(dim, list | tuple) else [dim])]
    return tuple(axis for place, axis in enumerate(axes) if place not in gone)


def indexed(node: Node) -> Axes | None:
    """Return the axes after indexing with slices, numbers, new axes and at most one index tensor."""
    axes = list(_source(node))
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    taken = sum(entry is not None and entry is not Ellipsis for entry in index)
    if sum(entry == INDICES or isinstance(entry, list | Node) for entry in index) > 1:
        return None
    found: list[Axis] = []
    for entry in index:
        if entry is None:
            found.append(())
        elif entry is Ellipsis:
            skipped = len(axes) - taken
            found.extend(axes[:skipped])
            axes = axes[skipped:]
        elif isinstance(entry, int) and not isinstance(entry, bool):
            taken -= 1
            axes.pop(0)
        else:
            taken -= 1
            found.append(resized(axes.pop(0), node.shape[len(found)]))
    return tuple(found + axes)


def _pieces(node: Node) -> list[Node]:
    """What is put together, empty beginnings of caches left out."""
    pieces = [piece for piece in (node.args[0] if node.args else node.kwargs["tensors"]) if isinstance(piece, Node)]
    return [piece for piece in pieces if 0 not in piece.shape]


def joined(node: Node) -> Axes:
    """Return the axes after ``cat``: the joined axis grows; if all pieces are projections of one input, it is the
    heads.
    """
    pieces = _pieces(node)
    dim = _argument(node, 1, "dim", 0) % len(node.shape)
    best = min(pieces, key=lambda p: (UNKNOWN in kinds(p.axes[dim]), not p.content, p.weight))
    axes = list(merged([best.axes, *(piece.axes for piece in pieces)]))
    own = best.axes[dim]
    if len(pieces) > 1 and FEATURE not in kinds(own) and are_heads(pieces):
        axes[dim] = (*factor_of(FEATURE, len(pieces), length_of(best.axes[-1])), *own)
    else:
        axes[dim] = resized(own, node.shape[dim])
    return tuple(axes)


def stacked(node: Node) -> Axes:
    """Return the axes after ``stack``: if all pieces are projections of one input, the new axis is the heads; else it
    is unknown.
    """
    pieces = _pieces(node)
    dim = _argument(node, 1, "dim", 0) % len(node.shape)
    axes = list(merged([piece.axes for piece in pieces]))
    axes.insert(dim, factor_of(FEATURE if are_heads(pieces) else UNKNOWN, len(pieces), length_of(pieces[0].axes[-1])))
    return tuple(axes)


def are_heads(pieces: Sequence[Node]) -> bool:
    """Return whether pieces are outputs of one projection, or of several projections of one input."""
    origins = [_origin(piece) for piece in pieces]
    if any(origin is None for origin in origins):
        return False
    inputs = {id(origin[1]) for origin in origins if origin}
    places = {origin[0] for origin in origins if origin}
    return len(inputs) == 1 and len(places) == len(pieces)


def are_parts(pieces: Sequence[Node]) -> bool:
    """Return whether pieces are different features of the same projection."""
    origins = [_origin(piece) for piece in pieces]
    if any(origin is None for origin in origins):
        return False
    places = {origin[0] for origin in origins if origin}
    return len({place[0] for place in places}) == 1 and len(places) == len(pieces)


def _origin(piece: Node) -> tuple[tuple[Any, ...], Node] | None:
    """Which part of which projection a piece is, and of what input."""
    place: list[Any] = []
    node = piece
    for _ in range(64):
        if node.name in PROJECTIONS:
            return (id(node), *place), node.parents[0]
        if not node.parents:
            return ((id(node), *place), node) if place else None
        if node.name in PIECES and _takes_features(node):
            place.append((node.index, str(node.args[1:]), str(node.kwargs)))
        node = next((parent for parent in node.parents if parent.content), node.parents[0])
    return None


def _takes_features(node: Node) -> bool:
    """Whether a function has taken a part of an axis of features, or one of its places."""
    before = node.parents[0].axes
    if len(before) == len(node.shape):
        return any(FEATURE in kinds(a) and length_of(a) != size for a, size in zip(before, node.shape, strict=True))
    if node.name in ("unbind", "select"):
        return FEATURE in kinds(before[_argument(node, 1, "dim", 0)])
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    place = 0
    for entry in index:
        if entry is Ellipsis:
            place = len(before) - sum(e is not None for e in index[index.index(Ellipsis) + 1 :])
            continue
        if isinstance(entry, int) and FEATURE in kinds(before[place]):
            return True
        place += entry is not None
    return False


Factor = tuple[str, int, int]
Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]

LEAD, FEATURE, WEIGHT, COPY, UNKNOWN = "lead", "feature", "weight", "copy", "?"


def best_of(axes: Sequence[Axis]) -> Axis:
    """Return the most informative of several descriptions of one axis: a known one before an unknown one."""
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
