"""Find what the axes of a tensor stand for, by a rule for the function that computed it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heedful.interception import form_rules, product_rules
from heedful.interception.factors import (
    COPY,
    FEATURE,
    LEAD,
    UNKNOWN,
    WEIGHT,
    Axes,
    factor_of,
    kinds,
    length_of,
    unknown,
)
from heedful.interception.lineage import Node


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
    "linear": product_rules.linear,
    **dict.fromkeys(["matmul", "bmm", "mm", "addmm", "baddbmm", "cdist", "inner"], product_rules.product),
    "einsum": product_rules.einsum,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), product_rules.convolved),
    "embedding": product_rules.embedded,
    "scaled_dot_product_attention": product_rules.attended,
    "attended": product_rules.heads_last,
    "view_as_complex": product_rules.complex_of,
    "view_as_real": product_rules.real_of,
    **dict.fromkeys(("__setitem__", "copy_", "index_copy_", "index_copy"), form_rules.cut),
}
