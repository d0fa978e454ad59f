"""Find what the axes of a tensor stand for, by a rule for the function that computed it.

Track axes through products: projections, convolutions, embeddings, einsum, attention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heedful.interception import form_rules
from heedful.interception.form_rules import (
    COPY,
    FEATURE,
    LEAD,
    UNKNOWN,
    WEIGHT,
    Axes,
    Axis,
    best_of,
    factor_of,
    kinds,
    length_of,
    unknown,
)
from heedful.interception.lineage import Node


def linear(node: Node) -> Axes:
    """Return the axes after ``linear``: leading ones from the input, then features.

    Of an input of two or three axes that came from who knows where, the leading ones are sequences and positions. So
    are those of a parameter that is projected, such as latents.
    """
    axes = node.parents[0].axes
    lead = axes[:-1]
    if len(lead) < 3:
        lead = tuple(_named_lead(axis, {UNKNOWN}) for axis in lead)
    if kinds(axes[-1]) == {LEAD}:
        lead = tuple(_named_lead(axis, {FEATURE}) if kinds(axis) == {FEATURE} else axis for axis in lead)
    return (*(_named_lead(axis, {WEIGHT, COPY}) for axis in lead), factor_of(FEATURE, node.shape[-1]))


def _named_lead(axis: Axis, which: set[str]) -> Axis:
    """An axis whose factors of some kinds are sequences or positions."""
    return tuple((LEAD, size, 0) if kind in which else (kind, size, step) for kind, size, step in axis)


def _column(axis: Axis, other: Node, size: int) -> Axis:
    """An axis that only one factor of a product has: of a weight, it is the product's features."""
    return factor_of(FEATURE, size) if other.weight else axis


def product(node: Node) -> Axes:
    """Return the axes after ``matmul``, ``bmm``, ``baddbmm``, ``addmm`` or ``cdist``."""
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
        axes = [factor_of(FEATURE, shape[place]) if n.weight else n.axes[-back] for n in sides]
        lead.append(best_of(axes) if axes else factor_of(UNKNOWN, shape[place]))
    return (*lead, *ends)


def letters_of(node: Node) -> tuple[list[list[str]], list[str]] | None:
    """Return an einsum's axis letters for operands and result, with ellipses expanded; None if not understood."""
    equation = node.args[0] if node.args else None
    if not isinstance(equation, str):
        return None
    return spelled(equation, [len(parent.shape) for parent in node.parents])


def spelled(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]] | None:
    """Return an einsum's axis letters for operands with ``ranks`` axes."""
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


def einsum(node: Node) -> Axes | None:
    """Return the axes after ``einsum``, letter by letter."""
    letters = letters_of(node)
    if letters is None:
        return None
    operands = sorted(zip(node.parents, letters[0], strict=True), key=lambda pair: pair[0].weight)
    found: list[Axis] = []
    for letter, size in zip(letters[1], node.shape, strict=True):
        axes = [
            factor_of(FEATURE, size) if parent.weight and len(operands) > 1 else parent.axes[word.index(letter)]
            for parent, word in operands
            if letter in word and parent.shape[word.index(letter)] == size
        ]
        found.append(best_of(axes) if axes else factor_of(UNKNOWN, size))
    return tuple(found)


def convolved(node: Node) -> Axes:
    """Return the axes after a convolution: ``(batch, channel, *places)``, or without batch."""
    channel = len(node.shape) - 1 - int(node.name[-2])
    return tuple(factor_of(FEATURE if place == channel else LEAD, size) for place, size in enumerate(node.shape))


def embedded(node: Node) -> Axes:
    """Return the axes after ``embedding``: a feature axis is added to the index axes."""
    return (*(factor_of(LEAD, size) for size in node.shape[:-1]), factor_of(FEATURE, node.shape[-1]))


def attended(node: Node) -> Axes:
    """Return the axes after ``scaled_dot_product_attention``: the query's, but the last from the value."""
    query, value = node.parents[0], node.parents[2]
    return (*query.axes[:-1], value.axes[-1])


def heads_last(node: Node) -> Axes:
    """Return the axes after transformers' attention functions: ``(batch, query, head, dim)``."""
    return tuple(factor_of(kind, size) for kind, size in zip((LEAD, LEAD, FEATURE, FEATURE), node.shape, strict=True))


def complex_of(node: Node) -> Axes:
    """Return the axes after ``view_as_complex``, which merges the last axis into the numbers."""
    return node.parents[0].axes[:-1]


def real_of(node: Node) -> Axes:
    """Return the axes after ``view_as_real``, which adds a last axis of length two."""
    return (*node.parents[0].axes, factor_of(FEATURE, node.shape[-1]))


def axes_of(node: Node) -> Axes:
    """Return what every axis of a node's tensor stands for; computed once."""
    pending = [node]
    while pending:  # parents first, without recursion: residual streams are long
        last = pending[-1]
        first = _leading(last) if last.axes is None else None
        if first is not None and first.axes is None:
            pending.append(first)
            continue
        if first is not None and _tells_all(first):
            last.axes = first.axes
        missing = [parent for parent in last.parents if parent.axes is None] if last.axes is None else []
        if last.axes is None and not missing:
            last.axes = _axes(last)
        if last.axes is not None:
            pending.pop()
        else:
            pending.extend(missing)
    found: Axes = node.axes
    return found


def _leading(node: Node) -> Node | None:
    """The operand from which a function of elements takes its axes, where that operand alone may tell them.

    It is the first one of content, by which pieces of a projection are followed as well.
    """
    if not node.name or node.name in RULES:
        return None
    first = next((parent for parent in node.parents if parent.content), None)
    if first is None or first.shape != node.shape or any(len(p.shape) > len(node.shape) for p in node.parents):
        return None
    return first


def _tells_all(node: Node) -> bool:
    """Whether no other operand can know more of any axis: what was added to a residual stream need not be looked at."""
    axes: Axes = node.axes
    return all(not axis or not (UNKNOWN in (own := kinds(axis)) or own <= {COPY, WEIGHT}) for axis in axes)


def _axes(node: Node) -> Axes:
    rule = RULES.get(node.name)
    if not node.name:
        return _root(node)
    try:
        found = rule(node) if rule is not None else form_rules.alike(node)
    except (IndexError, ValueError, TypeError, AttributeError, KeyError):
        found = None
    if found is None or [length_of(axis) for axis in found] != list(node.shape):
        return unknown(node.shape)
    return found


def _root(node: Node) -> Axes:
    """A tensor that came from outside: ``(..., feature)`` by custom up to three axes, and unknown beyond."""
    if node.weight:
        return tuple(factor_of(WEIGHT, size) for size in node.shape)
    if len(node.shape) == 2:  # a value a position, or a vector a sequence, of which a projection leaves nothing
        return tuple(factor_of(LEAD, size) for size in node.shape)
    if len(node.shape) != 3:
        return unknown(node.shape)
    return (*(factor_of(LEAD, size) for size in node.shape[:-1]), factor_of(FEATURE, node.shape[-1]))


def are_parts(pieces: Sequence[Node]) -> bool:
    """Return whether pieces are different features of the same projection."""
    for piece in pieces:
        axes_of(piece)
    return form_rules.are_parts(pieces)


VIEWS = "view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel _unsafe_view unsqueeze_ squeeze_"

RULES: dict[str, Callable[[Node], Axes | None]] = {
    **dict.fromkeys(VIEWS.split(), form_rules.viewed),
    "permute": form_rules.permuted,
    "transpose": form_rules.transposed,
    "transpose_": form_rules.transposed,
    "movedim": form_rules.moved,
    "t": form_rules.all_axes_reversed,
    "T": form_rules.all_axes_reversed,
    "mT": form_rules.last_two_exchanged,
    "mH": form_rules.last_two_exchanged,
    "adjoint": form_rules.last_two_exchanged,
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), form_rules.expanded),
    **dict.fromkeys(("repeat", "tile"), form_rules.repeated),
    "repeat_interleave": form_rules.interleaved,
    **dict.fromkeys(
        ["chunk", "split", "tensor_split", "narrow", "pad", "index_select", "gather", "take_along_dim"], form_rules.cut
    ),
    "unbind": lambda node: form_rules.without(node, 0),
    **dict.fromkeys(["select", "mean", "sum", "amax", "amin"], form_rules.without),
    "__getitem__": form_rules.indexed,
    "cat": form_rules.joined,
    "stack": form_rules.stacked,
    "linear": linear,
    **dict.fromkeys(["matmul", "bmm", "mm", "addmm", "baddbmm", "cdist", "inner"], product),
    "einsum": einsum,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), convolved),
    "embedding": embedded,
    "scaled_dot_product_attention": attended,
    "attended": heads_last,
    "view_as_complex": complex_of,
    "view_as_real": real_of,
    **dict.fromkeys(("__setitem__", "copy_", "index_copy_", "index_copy"), form_rules.cut),
}
