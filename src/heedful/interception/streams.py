"""Determine whether query and key come from the same token stream or from two."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.interception.form_rules import LEAD, PIECES
from heedful.interception.layout import axes_of
from heedful.interception.lineage import INDICES, PRODUCTS, WRITES, Node

FARTHEST = 256
"""Nodes that are looked at on the way back."""

PROJECTED = frozenset(("linear", "addmm", "conv1d", "conv2d"))

SCATTERED = frozenset(
    (
        "index_add",
        "index_add_",
        "index_put",
        "index_put_",
        "scatter",
        "scatter_",
        "scatter_add",
        "gather",
        "index_select",
    )
)
"""Functions after which it is not known which position is which."""

KEPT = frozenset(("cat", "__getitem__", "narrow", "roll", "to", "contiguous", "clone", "index_select", *WRITES))
"""Functions by which caches keep keys."""

ADDITIONS = 1
"""How many sums of content are passed on the way back from a projection: positions are added once, and what lies
behind more of them is the same text at another depth, which an encoder's output is for its decoder."""


def is_cross(call: AttentionCall, query: Node | None, key: Node | None) -> bool:
    """Return whether keys and queries come from different sequences, whatever their lengths.

    Args:
        call: The call, whose mask may show that it looks at its own past.
        query: Where its query comes from; None where that is not known.
        key: Where its key comes from.
    """
    if query is None or key is None:
        return False
    mine, theirs = _streams(query), _streams(key)
    if any(_is_scattered(node) for node in (query, key, *mine, *theirs)):
        return False
    own_past = _hides_future(call.visibility.mask, call.n_queries, call.n_keys)
    if all(node.weight for node in (*mine, *theirs)):
        return False  # positions learned as they are, of which nothing is known
    if own_past:  # other layers' keys are its own past too; only another text's are not
        return not _everything({query}) & _everything({key})
    return not _meeting(mine, theirs, ADDITIONS)


def follows(key: Node | None, before: Node | None) -> bool:
    """Return whether keys extend those of an earlier call, as a cache that grew or a window that moved."""
    if key is None or before is None or key is before:
        return False
    pending, seen = [key], {key}
    while pending and len(seen) < FARTHEST:
        for parent in pending.pop().parents:
            if parent is before:
                return True
            if parent not in seen and parent.name in KEPT:
                seen.add(parent)
                pending.append(parent)
    return False


def same_stream(one: Node | None, other: Node | None) -> bool:
    """Return whether two tensors represent the same sequence at the same depth, ignoring added positions."""
    return one is not None and other is not None and _meeting({one}, {other}, ADDITIONS)


def of_one_text(query: Node | None, key: Node | None) -> bool:
    """Return whether queries and keys represent the same tokens: equal, pooled or partial positions."""
    if query is None or key is None:
        return False
    return _meeting(_streams(query), _streams(key), ADDITIONS, parts=True)


def _meeting(mine: set[Node], theirs: set[Node], additions: int, *, parts: bool = False) -> bool:
    return bool(mine & theirs) or bool(_behind(mine, additions, parts) & _behind(theirs, additions, parts))


def _hides_future(mask: Tensor | None, n_queries: int, n_keys: int) -> bool:
    if mask is None or mask.shape[2] != n_queries or mask.shape[3] != n_keys or n_queries < 2 or n_keys < 2:
        return False
    seen = mask[:, :, [0, -1]].any(dim=0).any(dim=0).sum(dim=-1)
    return int(seen[0]) < int(seen[1]) and not bool(mask[:, :, 0, n_keys - n_queries + 1 :].any())


def _streams(node: Node) -> set[Node]:
    """What entered the projections that a tensor was made by, or the tensor's own stream where there are none."""
    found: set[Node] = set()
    pending, seen = [node], {node}
    while pending and len(seen) < FARTHEST:
        last = pending.pop()
        if last.name in PRODUCTS and last.parents and last.name != "embedding":
            found.update([parent for parent in last.parents if not parent.weight] or last.parents[:1])
            continue
        parents = list(_stream_parents(last))
        if not parents and (last.content or last is node):
            found.add(last)
        for parent in parents:
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)
    return found


def _is_scattered(node: Node) -> bool:
    """Whether positions were picked or put by index on the way from a projection, or before it."""
    for _ in range(FARTHEST):
        if node.name in SCATTERED or (node.name == "__getitem__" and INDICES in _entries(node.args[1])):
            return True
        parents = list(_stream_parents(node))
        if node.name in PRODUCTS or not parents:
            return False
        node = parents[0]
    return False


def _entries(index: object) -> tuple[object, ...]:
    return tuple(entry for entry in index if isinstance(entry, str)) if isinstance(index, tuple) else (index,)


def _stream_parents(node: Node) -> Iterator[Node]:
    """Operands whose positions a result has: those of content, else the first."""
    content = [parent for parent in node.parents if parent.content]
    yield from content or [parent for parent in node.parents[:1] if not parent.weight]


def _behind(nodes: set[Node], additions: int, parts: bool) -> set[Node]:
    """Everything that is no more than so many sums of content behind; parts of a text are texts of their own or not."""
    found: set[Node] = set()
    pending = [(node, 0) for node in nodes]
    while pending and len(found) < FARTHEST:
        node, sums = pending.pop()
        if node in found:
            continue
        found.add(node)
        if node.name in PROJECTED and not sums:  # a projection in two steps, as of low rank
            pending.extend((parent, sums) for parent in node.parents if not parent.weight)
        if node.name in PRODUCTS or (not parts and node.name in PIECES and _takes_positions(node)):
            continue
        parents = [parent for parent in node.parents if not parent.weight] or list(node.parents[:1])
        whole = [p for p in parents if p.shape == node.shape] or parents[:1]
        adding = len(whole) > 1 and all(parent.content for parent in whole)
        if sums + adding <= additions:
            pending.extend((parent, sums + adding) for parent in whole)
    return found


def _everything(nodes: set[Node]) -> set[Node]:
    """All that tensors were made of, as far as it is followed, parameters left out."""
    found: set[Node] = set()
    pending = list(nodes)
    while pending and len(found) < FARTHEST:
        node = pending.pop(0)
        if node not in found:
            found.add(node)
            pending.extend(parent for parent in node.parents if not parent.weight)
    return found


def _takes_positions(node: Node) -> bool:
    """Whether a function has taken some of the positions."""
    axes, before = axes_of(node), axes_of(node.parents[0])
    count = [math.prod(size for axis in given for kind, size, _ in axis if kind == LEAD) for given in (axes, before)]
    return count[0] != count[1]
