"""Find the keys that a mask hides, from terms added to or filled into the logits, never from a small logit.

An additive term hides where it is one of a few large negative values and zero otherwise (-inf, the format's minimum,
-1e9, -10000, the -100 of shifted windows). Distances, slopes and learned biases take many values and hide nothing,
however negative they are. Sums are taken apart into their terms first.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from heedful.errors import HeedfulError
from heedful.interception.lineage import FILLS, FORMS, INDICES, PRODUCTS, SUMS, Lineage, Node

HIDES_BELOW = -50.0
"""A constant at or below this hides: its weight is less than 2e-22 of that of an equal logit."""

ALWAYS_BELOW = -5e8
"""Terms at or below this are masks wherever they come from: no distance or slope reaches so far."""

MOST_VALUES = 3
"""A mask is written with at most so many large negative values (a padded future key may have two added up)."""

NEGATED = frozenset(["sub", "sub_", "subtract", "__isub__", "__sub__"])


def hidden_by(lineage: Lineage | None, term: Tensor) -> Tensor | None:
    """Return a boolean mask that is True where an additive mask term hides keys; None if it hides none.

    Args:
        lineage: What is known of tensors.
        term: Floating, broadcastable to ``(batch, head, query, key)``.

    Returns:
        Bool, of the term's shape or one that broadcasts to it; None where nothing is hidden.

    Raises:
        HeedfulError: It cannot be known.
    """
    return _of_term(term, lineage.of(term) if lineage is not None else None)


def hidden_in(node: Node | None, logits: Tensor) -> Tensor | None:
    """Return a boolean mask that is True where logits were filled, or had terms added, to hide keys; None if no key is
    hidden.

    Args:
        node: Where the logits come from.
        logits: ``(..., query, key)``.

    Returns:
        Bool, broadcastable to the logits' shape; None where nothing is hidden.

    Raises:
        HeedfulError: It cannot be known.
    """
    found = _of_node(node) if node is not None else None
    gone = ~(logits > ALWAYS_BELOW) & ~logits.isnan()
    if bool(gone.any()):
        found = gone if found is None else found | gone
    return found


def forget(node: Node | None) -> None:
    """Free the masks that were stored for a call that is now described."""
    while node is not None and node.name not in PRODUCTS:
        node.held = None
        node = next((parent for parent in node.parents if parent.content), None)


def _of_term(term: Tensor, node: Node | None, sign: int = 1) -> Tensor | None:
    values = term if sign > 0 else -term
    low = values <= HIDES_BELOW
    if not bool(low.any()):
        return None
    gone = values <= ALWAYS_BELOW
    between = low & ~gone
    if not bool(between.any()):
        return gone
    if _is_mask(values, low, between):
        return low
    if node is None or not node.parents:
        if _two_clusters(values, low, between):
            raise HeedfulError(
                f"an additive mask mixes a bias with values near {float(values[between].max()):.4g}: it is not known "
                "whether they hide keys; add mask and bias inside the model, or give a bool mask"
            )
        return gone
    deeper = _of_node(node) if sign > 0 else None
    return gone if deeper is None else deeper | gone


def _is_mask(values: Tensor, low: Tensor, between: Tensor) -> bool:
    constants = values[between].unique()
    if len(constants) == 1 and int(between.sum()) > 1 and _two_clusters(values, low, between):
        return True  # one and the same number, far from every other one, was filled in
    if len(constants) > MOST_VALUES or not bool((low | (values == 0)).all()):
        return False
    return bool((values == 0).any())


def _two_clusters(values: Tensor, low: Tensor, between: Tensor) -> bool:
    """Whether large negative values stand apart from the others by more than half their size."""
    if bool(low.all()):
        return False
    top = float(values[between].max())
    return float(values[~low].min()) - top > -0.5 * top


def _of_node(node: Node) -> Tensor | None:
    """Where a node's tensor is hidden, broadcastable to its shape."""
    chain: list[Node] = []
    hidden: Tensor | None = None
    while True:
        chain.append(node)
        if node.name in PRODUCTS and node.name != "baddbmm":
            break
        before = _followed(node)
        if before is None:
            break
        node = before
    for link in reversed(chain):
        hidden = _carried(link, hidden)
        own = _own(link)
        if own is not None:
            hidden = own if hidden is None else hidden | own
    return hidden


def _followed(node: Node) -> Node | None:
    """The operand whose values go on: content before the rest."""
    if node.name == "baddbmm":
        return None
    return next((p for p in node.parents if p.content), node.parents[0] if node.parents else None)


def _own(node: Node) -> Tensor | None:
    """What this very function hides."""
    held = node.held or {}
    found: Tensor | None = None
    if node.name in SUMS:
        for position, term in held.items():
            if position < 0 or (not node.content and node.parents[position] is _followed(node)):
                continue
            sign = -1 if node.name in NEGATED and position == 1 else 1
            own = _of_term(term, node.parents[position], sign)
            if own is not None:
                found = own if found is None else found | own
        return found
    if node.name not in FILLS or -1 not in held:
        return None
    return _filled(node, held)


def _filled(node: Node, held: dict[int, Tensor]) -> Tensor | None:
    """The places that ``masked_fill`` or ``where`` has filled with a large negative value."""
    mask = held[-1]
    if node.name != "where":
        value = node.kwargs.get("value", node.args[2] if len(node.args) > 2 else None)
        value = held.get(1) if isinstance(value, Node) else value
        return mask if _hides(value) else None
    first = 0 if node.args[0] == INDICES else 1  # torch.where(condition, a, b) and a.where(condition, b)
    sides = [node.args[1], node.args[2]] if first == 0 else [node.args[0], node.args[2]]
    seen: Tensor | None = None
    for filled, other, where in ((sides[1], sides[0], ~mask), (sides[0], sides[1], mask)):
        value = held.get(node.parents.index(filled)) if isinstance(filled, Node) else filled
        if value is not None and _hides(value) and other is not filled:
            seen = where if seen is None else seen | where
    return seen


def _hides(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool((value <= HIDES_BELOW).all()) and value.numel() > 0
    return isinstance(value, int | float) and value <= HIDES_BELOW


def _carried(node: Node, hidden: Tensor | None) -> Tensor | None:
    """What was hidden before a function, in the shape of its result."""
    if hidden is None or node.name not in FORMS:
        return hidden
    return moved(node, hidden.expand(node.parents[0].shape))


def moved(node: Node, tensor: Tensor) -> Tensor:
    """Apply a node's reshape to a tensor that has the shape of its input.

    Raises:
        HeedfulError: It went through indices that were not kept.
    """
    if node.name.endswith("_as"):
        return tensor.expand(node.shape) if node.name == "expand_as" else tensor.reshape(node.shape)
    if node.name in ("T", "mT", "mH"):
        return getattr(tensor, node.name)  # type: ignore[no-any-return]
    indices = [e for value in node.args[1:] for e in (value if isinstance(value, tuple) else (value,))]
    if any(isinstance(entry, Node) or (isinstance(entry, str) and entry == INDICES) for entry in indices):
        raise HeedfulError("its weights or logits were picked by indices, which is not followed")
    name = {"view": "reshape"}.get(node.name, node.name)
    result = getattr(tensor, name)(*node.args[1:], **node.kwargs)
    return result[node.index] if isinstance(result, tuple | list) else result
