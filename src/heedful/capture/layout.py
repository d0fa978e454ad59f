"""What each axis of a tensor is made of: tokens and sequences, or features of a projection.

An axis is a list of factors, outermost first. ``reshape(batch * heads, n, dim)`` leaves a first axis of two factors, and
their order tells ``(batch * heads)`` from ``(heads * batch)``, whatever the sizes are. A factor is a kind, a length and a
step: how many features of the projection lie between its neighbours (0: not known). Kinds of factors:

``lead``     sequences or positions: axes that a projection leaves alone
``feature``  outputs of a projection: heads, and components of a head
``weight``   an axis of a parameter
``copy``     made by ``expand`` or ``repeat``
``?``        not known
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from heedful.capture.lineage import INDICES, Node

Factor = tuple[str, int, int]
Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]

LEAD, FEATURE, WEIGHT, COPY, UNKNOWN = "lead", "feature", "weight", "copy", "?"


def axes_of(node: Node) -> Axes:
    """The factors of every axis of a node's tensor; computed once."""
    pending = [node]
    while pending:  # parents first, without recursion: residual streams are long
        last = pending[-1]
        missing = [parent for parent in last.parents if parent.axes is None]
        if last.axes is None and not missing:
            last.axes = _axes(last)
        if last.axes is not None:
            pending.pop()
        else:
            pending.extend(missing)
    found: Axes = node.axes
    return found


def best_of(axes: Sequence[Axis]) -> Axis:
    """The axis of which most is known: not one of copies where another tells what they are copies beside."""
    return min(axes, key=lambda axis: (UNKNOWN in kinds(axis), bool(axis) and kinds(axis) <= {COPY, WEIGHT}))


def kinds(axis: Axis) -> set[str]:
    """The kinds of an axis's factors; empty for an axis of length 1."""
    return {kind for kind, _, _ in axis}


def unknown(shape: Sequence[int]) -> Axes:
    """Axes of which nothing is known."""
    return tuple(_one(UNKNOWN, size) for size in shape)


def _axes(node: Node) -> Axes:
    rule = RULES.get(node.name)
    if not node.name:
        return _root(node)
    try:
        found = rule(node) if rule is not None else _alike(node)
    except (IndexError, ValueError, TypeError, AttributeError, KeyError):
        found = None
    if (
        found is None
        or len(found) != len(node.shape)
        or any(_size(a) != s for a, s in zip(found, node.shape, strict=True))
    ):
        return unknown(node.shape)
    return found


def _root(node: Node) -> Axes:
    """A tensor that came from outside: ``(..., feature)`` by custom up to three axes, and unknown beyond."""
    if node.weight:
        return tuple(_one(WEIGHT, size) for size in node.shape)
    if len(node.shape) == 2:  # a value a position, or a vector a sequence, of which a projection leaves nothing
        return tuple(_one(LEAD, size) for size in node.shape)
    if len(node.shape) != 3:
        return unknown(node.shape)
    return (*(_one(LEAD, size) for size in node.shape[:-1]), _one(FEATURE, node.shape[-1]))


def _one(kind: str, size: int, step: int | None = None) -> Axis:
    return ((kind, size, int(kind == FEATURE) if step is None else step),) if size > 1 else ()


def _size(axis: Axis) -> int:
    return math.prod(size for _, size, _ in axis)


def _source(node: Node) -> Axes:
    first = node.parents[0]
    return first.axes  # type: ignore[no-any-return]


def resized(axis: Axis, size: int) -> Axis:
    """An axis of which a part was taken, or to which more was added."""
    total = _size(axis)
    if total == size:
        return axis
    if not axis:
        return _one(UNKNOWN, size)
    if len(kinds(axis)) == 1:
        return _one(axis[0][0], size, axis[-1][2])
    (kind, _, step), rest = axis[0], axis[1:]
    inner = _size(rest)
    return (*_one(kind, size // inner, step), *rest) if size % inner == 0 else _one(UNKNOWN, size)


def _alike(node: Node) -> Axes:
    """A function of elements: each axis is that of the first operand, content before others, that has it in full."""
    operands = sorted(node.parents, key=lambda parent: (parent.weight, not parent.content))
    found: list[Axis] = []
    for place, size in enumerate(node.shape):
        back = len(node.shape) - place
        axes = [p.axes[-back] for p in operands if len(p.shape) >= back and p.shape[-back] == size]
        best = best_of(axes) if axes else None
        if best is None:
            near = [p.axes[-back] for p in operands if len(p.shape) == len(node.shape)]
            best = resized(near[0], size) if near else _one(UNKNOWN, size)
        found.append(best)
    if any(len(parent.shape) > len(node.shape) for parent in node.parents):
        return unknown(node.shape)
    return tuple(found)


def _viewed(node: Node) -> Axes:
    """Factors in order, grouped anew."""
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


def _permuted(node: Node) -> Axes:
    axes = _source(node)
    order = _argument(node, 1, "dims")
    order = list(order) if isinstance(order, list | tuple) else list(node.args[1:])
    return tuple(axes[place] for place in order)


def _transposed(node: Node) -> Axes:
    axes = list(_source(node))
    one = _argument(node, 1, "dim0", node.kwargs.get("axis0"))
    other = _argument(node, 2, "dim1", node.kwargs.get("axis1"))
    axes[one], axes[other] = axes[other], axes[one]
    return tuple(axes)


def _moved(node: Node) -> Axes:
    axes = _source(node)
    source, target = _argument(node, 1, "source"), _argument(node, 2, "destination")
    sources = [s % len(axes) for s in (source if isinstance(source, list | tuple) else [source])]
    targets = [t % len(axes) for t in (target if isinstance(target, list | tuple) else [target])]
    order = [place for place in range(len(axes)) if place not in sources]
    for to, come in sorted(zip(targets, sources, strict=True)):
        order.insert(to, come)
    return tuple(axes[place] for place in order)


def _reversed(node: Node) -> Axes:
    return tuple(reversed(_source(node)))


def _last_two_exchanged(node: Node) -> Axes:
    axes = _source(node)
    return (*axes[:-2], axes[-1], axes[-2])


def _expanded(node: Node) -> Axes:
    axes = _source(node)
    axes = ((),) * (len(node.shape) - len(axes)) + axes
    return tuple(a if _size(a) == size else _one(COPY, size) for a, size in zip(axes, node.shape, strict=True))


def _repeated(node: Node) -> Axes:
    """``repeat``: the copies lie outside what is repeated."""
    axes = _source(node)
    axes = ((),) * (len(node.shape) - len(axes)) + axes
    return tuple((*_one(COPY, size // _size(a)), *a) for a, size in zip(axes, node.shape, strict=True))


def _interleaved(node: Node) -> Axes:
    """``repeat_interleave``: the copies lie inside."""
    return tuple((*a, *_one(COPY, size // _size(a))) for a, size in zip(_source(node), node.shape, strict=True))


def _cut(node: Node) -> Axes:
    """Some length of one axis or of several."""
    return tuple(resized(axis, size) for axis, size in zip(_source(node), node.shape, strict=True))


def _without(node: Node, default: int | None = None) -> Axes:
    """One axis is taken away, or left with length 1."""
    axes = list(_source(node))
    if len(axes) == len(node.shape):
        return tuple(a if _size(a) == size else resized(a, size) for a, size in zip(axes, node.shape, strict=True))
    dim = _argument(node, 1, "dim", default)
    gone = [d % len(axes) for d in (dim if isinstance(dim, list | tuple) else [dim])]
    return tuple(axis for place, axis in enumerate(axes) if place not in gone)


def _indexed(node: Node) -> Axes | None:
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


def _joined(node: Node) -> Axes:
    """``cat``: further tokens, or, where the pieces are parts of one projection of one input, heads."""
    pieces = _pieces(node)
    dim = _argument(node, 1, "dim", 0) % len(node.shape)
    best = min(pieces, key=lambda p: (UNKNOWN in kinds(p.axes[dim]), not p.content, p.weight))
    axes = list(_merged([best.axes, *(piece.axes for piece in pieces)]))
    own = best.axes[dim]
    if len(pieces) > 1 and FEATURE not in kinds(own) and are_heads(pieces):
        axes[dim] = (*_one(FEATURE, len(pieces), _size(best.axes[-1])), *own)
    else:
        axes[dim] = resized(own, node.shape[dim])
    return tuple(axes)


def _stacked(node: Node) -> Axes:
    pieces = _pieces(node)
    dim = _argument(node, 1, "dim", 0) % len(node.shape)
    axes = list(_merged([piece.axes for piece in pieces]))
    axes.insert(dim, _one(FEATURE if are_heads(pieces) else UNKNOWN, len(pieces), _size(pieces[0].axes[-1])))
    return tuple(axes)


def _merged(candidates: list[Axes]) -> Axes:
    """Axis by axis the first that is known."""
    return tuple(best_of(column) for column in zip(*candidates, strict=True))


def are_heads(pieces: Sequence[Node]) -> bool:
    """Whether pieces are parts of one projection's outputs, or several projections of one input."""
    origins = [_origin(piece) for piece in pieces]
    if any(origin is None for origin in origins):
        return False
    inputs = {id(origin[1]) for origin in origins if origin}
    places = {origin[0] for origin in origins if origin}
    return len(inputs) == 1 and len(places) == len(pieces)


def are_parts(pieces: Sequence[Node]) -> bool:
    """Whether pieces are different features of one and the same projection."""
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
        axes_of(node)
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
    before = axes_of(node.parents[0])
    if len(before) == len(node.shape):
        return any(FEATURE in kinds(a) and _size(a) != size for a, size in zip(before, node.shape, strict=True))
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


def _linear(node: Node) -> Axes:
    """Leading axes are the input's. Where positions are what is projected away, its features stand for tokens.

    Of an input of two or three axes that came from who knows where, the leading ones are sequences and positions. So are
    those of a parameter that is projected, such as latents.
    """
    axes = _source(node)
    lead = axes[:-1]
    if len(lead) < 3:
        lead = tuple(_named_lead(axis, {UNKNOWN}) for axis in lead)
    if kinds(axes[-1]) == {LEAD}:
        lead = tuple(_named_lead(axis, {FEATURE}) if kinds(axis) == {FEATURE} else axis for axis in lead)
    return (*(_named_lead(axis, {WEIGHT}) for axis in lead), _one(FEATURE, node.shape[-1]))


def _named_lead(axis: Axis, which: set[str]) -> Axis:
    """An axis whose factors of some kinds are sequences or positions."""
    return tuple((LEAD, size, 0) if kind in which else (kind, size, step) for kind, size, step in axis)


def _column(axis: Axis, other: Node, size: int) -> Axis:
    """An axis that only one factor of a product has: of a weight, it is the product's features."""
    return _one(FEATURE, size) if other.weight else axis


def _product(node: Node) -> Axes:
    """``matmul``, ``bmm``, ``baddbmm``, ``addmm``, ``cdist``."""
    left, right = node.parents[-2:]
    shape = node.shape
    across = -2 if node.name in ("cdist", "inner") else -1
    rows = left.axes[-2] if len(left.shape) > 1 else None
    columns = right.axes[across] if len(right.shape) > 1 else None
    ends = [
        axis for axis in (rows, _column(columns, right, shape[-1]) if columns is not None else None) if axis is not None
    ]
    lead: list[Axis] = []
    for place in range(len(shape) - len(ends)):
        back = len(shape) - len(ends) - place + 2
        sides = [n for n in (left, right) if len(n.shape) >= back and n.shape[-back] == shape[place]]
        axes = [_one(FEATURE, shape[place]) if n.weight else n.axes[-back] for n in sides]
        lead.append(best_of(axes) if axes else _one(UNKNOWN, shape[place]))
    return (*lead, *ends)


def letters_of(node: Node) -> tuple[list[list[str]], list[str]] | None:
    """The axes of an einsum's operands and of its result as letters, ellipses written out; None if not understood."""
    equation = node.args[0] if node.args else None
    if not isinstance(equation, str):
        return None
    return spelled(equation, [len(parent.shape) for parent in node.parents])


def spelled(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]] | None:
    """An einsum's letters for operands of so many axes each."""
    terms, arrow, out = equation.replace(" ", "").partition("->")
    words = terms.split(",")
    if len(words) != len(ranks):
        return None
    free = max(
        (rank - len(word.replace("...", "")) for word, rank in zip(words, ranks, strict=True) if "..." in word),
        default=0,
    )
    dots = [f".{i}" for i in range(free)]

    def spell(word: str, rank: int) -> list[str]:
        before, dotted, after = word.partition("...")
        if not dotted:
            return list(word)
        wide = rank - len(before) - len(after)
        return [*before, *dots[len(dots) - wide :], *after]

    given = [spell(word, rank) for word, rank in zip(words, ranks, strict=True)]
    if any(len(letters) != rank for letters, rank in zip(given, ranks, strict=True)):
        return None
    if not arrow:
        every = [letter for letters in given for letter in letters]
        once = sorted(letter for letter in set(every) if every.count(letter) == 1 and not letter.startswith("."))
        return given, [*dots, *once]
    return given, spell(out, len(out.replace("...", "")) + free)


def _einsum(node: Node) -> Axes | None:
    letters = letters_of(node)
    if letters is None:
        return None
    operands = sorted(zip(node.parents, letters[0], strict=True), key=lambda pair: pair[0].weight)
    found: list[Axis] = []
    for letter, size in zip(letters[1], node.shape, strict=True):
        axes = [
            _one(FEATURE, size) if parent.weight and len(operands) > 1 else parent.axes[word.index(letter)]
            for parent, word in operands
            if letter in word and parent.shape[word.index(letter)] == size
        ]
        found.append(best_of(axes) if axes else _one(UNKNOWN, size))
    return tuple(found)


def _convolved(node: Node) -> Axes:
    first, size = _source(node), node.shape
    return (first[0], _one(FEATURE, size[1]), *(_one(LEAD, length) for length in size[2:]))


def _embedded(node: Node) -> Axes:
    return (*(_one(LEAD, size) for size in node.shape[:-1]), _one(FEATURE, node.shape[-1]))


def _attended(node: Node) -> Axes:
    """``scaled_dot_product_attention``: the query's axes, and the value's last."""
    query, value = node.parents[0], node.parents[2]
    return (*query.axes[:-1], value.axes[-1])


def _heads_last(node: Node) -> Axes:
    """What transformers' attention functions return: ``(batch, query, head, dim)``."""
    return tuple(_one(kind, size) for kind, size in zip((LEAD, LEAD, FEATURE, FEATURE), node.shape, strict=True))


def _complex(node: Node) -> Axes:
    return _source(node)[:-1]


def _real(node: Node) -> Axes:
    return (*_source(node), _one(FEATURE, node.shape[-1]))


PROJECTIONS = ("linear", "addmm", "matmul", "einsum", "conv1d", "conv2d", "bmm")
PIECES = ("chunk", "split", "tensor_split", "unbind", "select", "narrow", "__getitem__")
VIEWS = "view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel _unsafe_view unsqueeze_ squeeze_"

RULES: dict[str, Callable[[Node], Axes | None]] = {
    **dict.fromkeys(VIEWS.split(), _viewed),
    "permute": _permuted,
    "transpose": _transposed,
    "transpose_": _transposed,
    "movedim": _moved,
    "t": _reversed,
    "T": _reversed,
    "mT": _last_two_exchanged,
    "mH": _last_two_exchanged,
    "adjoint": _last_two_exchanged,
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expanded),
    **dict.fromkeys(("repeat", "tile"), _repeated),
    "repeat_interleave": _interleaved,
    **dict.fromkeys(
        ["chunk", "split", "tensor_split", "narrow", "pad", "index_select", "gather", "take_along_dim"], _cut
    ),
    "unbind": lambda node: _without(node, 0),
    **dict.fromkeys(["select", "mean", "sum", "amax", "amin"], _without),
    "__getitem__": _indexed,
    "cat": _joined,
    "stack": _stacked,
    "linear": _linear,
    **dict.fromkeys(["matmul", "bmm", "mm", "addmm", "baddbmm", "cdist", "inner"], _product),
    "einsum": _einsum,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolved),
    "embedding": _embedded,
    "scaled_dot_product_attention": _attended,
    "attended": _heads_last,
    "view_as_complex": _complex,
    "view_as_real": _real,
    **dict.fromkeys(("__setitem__", "copy_", "index_copy_", "index_copy"), _cut),
}
