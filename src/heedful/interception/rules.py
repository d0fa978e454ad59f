"""Convert a mask, in any form that models use, to visibility rules and a finite bias.

Find the keys that a mask hides, from terms added to or filled into the logits, never from a small logit.

An additive term hides where it is one of a few large negative values and zero otherwise (-inf, the format's minimum,
-1e9, -10000, the -100 of shifted windows). Distances, slopes and learned biases take many values and hide nothing,
however negative they are. Sums are taken apart into their terms first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention.visibility import Visibility, bidirectional, causal, masked, padding
from heedful.errors import CaptureError, HeedfulError
from heedful.interception.lineage import FILLS, FORMS, INDICES, PRODUCTS, SUMS, Lineage, Node

MASKED_BELOW = -1e4
"""Entries of a float padding mask at or below this hide."""


def split_mask(mask: Tensor, lineage: Lineage | None = None) -> tuple[Tensor, Tensor | None]:
    """Split a mask into a bool mask (True = visible) and the finite bias of an additive mask.

    Args:
        mask: Bool or float, broadcastable to ``(batch, head, query, key)``.
        lineage: What is known of tensors, by which the terms of a sum are told apart.

    Raises:
        HeedfulError: It is not known which keys an additive mask hides.
    """
    if mask.dtype == torch.bool:
        return mask, None
    hidden = hidden_by(lineage, mask)
    if hidden is None:
        return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=mask.device), mask if bool(mask.any()) else None
    bias = mask.masked_fill(hidden, 0.0)
    return ~hidden, bias if bool(bias.any()) else None


def table_rules(
    name: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Any,
    keywords: dict[str, Any],
    lineage: Lineage | None = None,
) -> tuple[Visibility, Tensor | None]:
    """Return visibility and bias of one call of transformers' attention-function table.

    Args:
        name: Entry of the table that is active: ``eager``, ``sdpa``, ``flash_attention_2`` ...
        module: The attention module.
        query: ``(batch, head, query, dim)``.
        key: ``(batch, kv_head, key, dim)``.
        mask: What the model passed as ``attention_mask``.
        keywords: The remaining keyword arguments of the call.
        lineage: What is known of tensors.

    Raises:
        CaptureError: The mask has a form that heedful does not understand.
    """
    n_queries, n_keys = query.shape[2], key.shape[2]
    is_causal = keywords.get("is_causal")
    is_causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    bias = keywords.get("position_bias")
    if "flash" in name:
        window = keywords.get("sliding_window") if is_causal else None
        visibility = causal(window=window) if is_causal and n_queries > 1 else _aligned(is_causal, n_queries, n_keys)
        if isinstance(mask, Tensor) and mask.dim() == 2:
            visibility = visibility & padding(mask[:, -n_keys:], queries=n_queries == n_keys)
        elif mask is not None:
            raise CaptureError(name, f"a mask of type {type(mask).__name__} came where a 2-D padding mask was expected")
        return visibility, bias
    if mask is None:
        # Kernels other than eager are told "causal" by the absence of a mask; the eager one always gets one.
        if name != "eager" and is_causal and n_queries > 1:
            return causal(offset=0), bias
        return _aligned(is_causal and n_queries == 1, n_queries, n_keys), bias
    if not isinstance(mask, Tensor) or mask.dim() not in (2, 3, 4):
        raise CaptureError(name, f"an attention mask of type {type(mask).__name__} is not understood")
    if mask.shape[-1] > n_keys:
        if lineage is not None and (node := lineage.of(mask)) is not None and mask.is_floating_point():
            mask, whole = mask[..., :n_keys], node
            lineage.put(mask, Node("__getitem__", (whole, (..., slice(None, n_keys))), {}, (whole,), tuple(mask.shape)))
        else:
            mask = mask[..., :n_keys]
    if mask.dim() == 2 and mask.shape == (query.shape[0], n_keys):
        return _aligned(False, n_queries, n_keys) & padding(mask, queries=False), bias
    seen, finite = split_mask(mask, lineage)
    if finite is not None:
        bias = finite if bias is None else bias + finite
    visibility = bidirectional() if seen.numel() == 1 and bool(seen) else masked(seen)
    return _placed(visibility, is_causal, n_queries, n_keys), bias


def sdpa_rules(
    mask: Tensor | None,
    is_causal: bool,
    lineage: Lineage | None = None,
    standard: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> tuple[Visibility, Tensor | None]:
    """Return visibility and bias of a ``scaled_dot_product_attention`` call (causal means aligned at the first key).

    Args:
        mask: Bool or additive mask, or None.
        is_causal: Whether the causal rule holds.
        lineage: What is known of tensors.
        standard: Brings a tensor of the mask's layout to ``(batch, head, query, key)``.
    """
    visibility = causal(offset=0) if is_causal else bidirectional()
    if mask is None:
        return visibility, None
    seen, bias = split_mask(mask, lineage)
    bias = None if bias is None else standard(bias)
    if seen.numel() == 1 and bool(seen):
        return visibility, bias
    return visibility & masked(standard(seen)), bias


def _aligned(last_row: bool, n_queries: int, n_keys: int) -> Visibility:
    """Every key visible; one query of a causal module is the last position."""
    return Visibility(offset=n_keys - n_queries) if last_row and n_queries == 1 else bidirectional()


def _placed(visibility: Visibility, is_causal: bool, n_queries: int, n_keys: int) -> Visibility:
    """The position of query 0 for a causal module with more keys than queries.

    A query's last visible key is its own, unless it or the keys near it are padding: so the query that sees farthest
    beyond its place tells where all of them stand.
    """
    mask = visibility.mask
    if mask is None and is_causal and n_queries == 1:
        return Visibility(offset=n_keys - n_queries)
    if not is_causal or n_queries == n_keys or mask is None or mask.shape[2] != n_queries or mask.shape[3] != n_keys:
        return visibility
    seen = mask.any(0).any(0)
    rows = seen.any(-1)
    if not bool(rows.any()):
        return visibility
    last = n_keys - 1 - seen.flip(-1).int().argmax(-1)
    ahead = (last - torch.arange(n_queries, device=last.device))[rows]
    return Visibility(mask=mask, offset=int(ahead.max()))


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
    """Return a boolean mask that is True where logits were filled or shifted to hide keys; None if no key is hidden.

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
