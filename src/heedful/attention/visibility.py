"""Rules for which keys a query sees, evaluated block by block without a full ``(query, key)`` mask.

Document labels of packed sequences: renumber and combine them, count queries by document, and find each document's
first visible key.

Convert torch tensors, numpy arrays and nested lists to torch tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.errors import CallError


@dataclass(frozen=True)
class Visibility:
    """Rules that give each query's visible keys, evaluated block by block.

    A key is visible where every rule given allows it. Query ``i`` stands at key position ``i + offset``; ``offset``
    None means ``n_keys - n_queries``, the alignment of cached decoding.

    Attributes:
        is_causal: Keys after the query's own position are unseen.
        window: How many keys back a query sees, its own included; two-sided where not causal. None: all.
        offset: Key position of query 0, or None for the alignment at the end.
        keys: ``(batch, key)`` bool, False at padding; or None.
        queries: ``(batch, query)`` bool, False where the row is padding and sees nothing; or None.
        mask: Bool, broadcastable to ``(batch, head, query, key)``, True where visible; or None.
        documents: ``(batch, key)`` integer label of the document each key is of, where several are packed into one
            sequence: a query sees the keys of its own label alone; or None.
        query_documents: ``(batch, query)`` labels of the queries; None takes the label of the key at the query's own
            position.
    """

    is_causal: bool = False
    window: int | None = None
    offset: int | None = None
    keys: Tensor | None = None
    queries: Tensor | None = None
    mask: Tensor | None = None
    documents: Tensor | None = None
    query_documents: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("keys", "queries", "mask", "documents", "query_documents"):
            if not isinstance(getattr(self, name), Tensor | None):
                object.__setattr__(self, name, tensor_of(f"visibility.{name}", getattr(self, name)))
        for name in ("window", "offset"):
            if not isinstance(getattr(self, name), int | None) or isinstance(getattr(self, name), bool):
                raise CallError(f"{name}: expected a whole number or None, got {getattr(self, name)!r}")
        if self.window is not None and self.window < 1:
            raise CallError(f"window: expected at least 1 key, got {self.window}")
        for name, value, dimensions in (
            ("keys", self.keys, (2,)),
            ("queries", self.queries, (2,)),
            ("mask", self.mask, (2, 3, 4)),
        ):
            if value is None:
                continue
            if value.dtype != torch.bool:
                message = "additive masks of 0 and -inf: mask == 0; of 1 and 0: mask.bool()"
                raise CallError(
                    f"visibility.{name}: expected a bool tensor (True = visible), got {value.dtype} ({message})"
                )
            if value.dim() not in dimensions:
                raise CallError(f"visibility.{name}: expected {dimensions} dimensions, got shape {tuple(value.shape)}")
        for name, labels in (("documents", self.documents), ("query_documents", self.query_documents)):
            if labels is not None and (labels.dim() != 2 or labels.is_floating_point() or labels.dtype == torch.bool):
                raise CallError(
                    f"visibility.{name}: expected integer labels (batch, position), got {tuple(labels.shape)} "
                    f"{labels.dtype}"
                )
        if self.query_documents is not None and self.documents is None:
            raise CallError("visibility.query_documents: expected documents of the keys too, got none")
        if self.mask is not None and self.mask.dim() < 4:
            object.__setattr__(self, "mask", self.mask[(None,) * (4 - self.mask.dim())])

    def __and__(self, other: Visibility) -> Visibility:
        """Visible under both.

        Raises:
            CallError: Both set a rule of which only one can be kept.
        """
        merged: dict[str, Any] = {"is_causal": self.is_causal or other.is_causal}
        for name in ("window", "offset"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None and theirs is not None and mine != theirs:
                raise CallError(f"visibility: two different values of {name}: {mine} and {theirs}")
            merged[name] = mine if mine is not None else theirs
        for name in ("keys", "queries", "mask"):
            mine, theirs = getattr(self, name), getattr(other, name)
            merged[name] = (
                mine & theirs if mine is not None and theirs is not None else (mine if mine is not None else theirs)
            )
        merged["documents"], merged["query_documents"] = both_packings(
            (self.documents, self.query_documents), (other.documents, other.query_documents)
        )
        return Visibility(**merged)

    def start(self, n_queries: int, n_keys: int) -> int:
        """Return the key position of query 0."""
        return n_keys - n_queries if self.offset is None else self.offset

    def key_range(self, begin: int, end: int, n_queries: int, n_keys: int) -> tuple[int, int]:
        """Return the smallest key range ``[first, last)`` that causal and window rules allow for queries ``[begin,
        end)``.
        """
        start = self.start(n_queries, n_keys)
        first, last = 0, n_keys
        if self.window is not None:
            first = max(0, begin + start - self.window + 1)
            last = min(n_keys, end - 1 + start + self.window)
        if self.is_causal:
            last = min(last, end + start)
        return min(first, n_keys), max(min(first, n_keys), last)

    def _near(self, distance: Tensor) -> Tensor:
        """Whether the causal and window rules allow keys this many positions back."""
        seen = distance >= 0 if self.is_causal else torch.ones_like(distance, dtype=torch.bool)
        if self.window is not None:
            seen = seen & (distance < self.window) & (distance > -self.window)
        return seen

    def block(
        self, begin: int, end: int, first: int, last: int, n_queries: int, n_keys: int, device: torch.device
    ) -> Tensor:
        """Return whether queries ``[begin, end)`` see keys ``[first, last)``, as a bool mask.

        Returns:
            Bool, broadcastable to ``(batch, head, end - begin, last - first)``.
        """
        seen = torch.ones(1, 1, end - begin, last - first, dtype=torch.bool, device=device)
        if self.is_causal or self.window is not None:
            position = torch.arange(begin, end, device=device)[:, None] + self.start(n_queries, n_keys)
            seen = seen & self._near(position - torch.arange(first, last, device=device)[None, :])
        if self.keys is not None:
            seen = seen & self.keys.to(device)[:, None, None, first:last]
        if self.queries is not None:
            seen = seen & self.queries.to(device)[:, None, begin:end, None]
        if self.documents is not None:
            own = self._own_documents(n_queries, n_keys, device)[:, None, begin:end, None]
            seen = seen & (own == self.documents.to(device)[:, None, None, first:last])
        if self.mask is not None:
            rows = self.mask if self.mask.shape[2] == 1 else self.mask[:, :, begin:end]
            seen = seen & (rows if rows.shape[3] == 1 else rows[..., first:last]).to(device)
        return seen

    def at(self, sequence: Tensor, query: Tensor, key: Tensor, n_queries: int, n_keys: int) -> Tensor:
        """Return the visibility of given (sequence, query, key) triples; if heads differ, that of the first head.

        Returns:
            ``(point,)`` bool.
        """
        seen = self._near(query + self.start(n_queries, n_keys) - key)
        if self.keys is not None:
            seen = seen & self.keys.to(seen.device)[sequence, key]
        if self.queries is not None:
            seen = seen & self.queries.to(seen.device)[sequence, query]
        if self.documents is not None:
            own = self._own_documents(n_queries, n_keys, seen.device)[sequence, query]
            seen = seen & (own == self.documents.to(seen.device)[sequence, key])
        if self.mask is not None:
            sizes = self.mask.shape
            picked = self.mask.to(seen.device)[
                sequence * (sizes[0] > 1), torch.zeros_like(query), query * (sizes[2] > 1), key * (sizes[3] > 1)
            ]
            seen = seen & picked
        return seen

    def first_key(self, batch: int, n_queries: int, n_keys: int, device: torch.device) -> Tensor:
        """Return the first key that any query of each sequence sees, where an attention sink would be.

        A mask beside other rules is taken by itself: a key must be shown by the mask to some query and by the rules to
        some query, not by both to one.

        Returns:
            ``(batch,)`` int64; 0 where no key is ever seen.
        """
        if self._nothing_but_causal():
            return torch.zeros(batch, dtype=torch.int64, device=device)  # whoever sees a key sees the first
        return self._shown(batch, n_queries, n_keys, device).to(torch.uint8).argmax(dim=1)

    def own_first_key(self, batch: int, n_queries: int, n_keys: int, device: torch.device) -> Tensor:
        """Return the first key that each query can see; with packed documents, that of its own document.

        A packed document has its sink at its own beginning, so that its moments are those it would have alone. Without
        documents this is ``first_key`` in every row.

        Returns:
            ``(batch, query)`` int64; 0 where no key of the document is ever seen.
        """
        if self.documents is None:
            return self.first_key(batch, n_queries, n_keys, device)[:, None].expand(batch, n_queries)
        shown = self._shown(batch, n_queries, n_keys, device)
        keys = self.documents.to(device)
        return first_of_own(keys, self._own_documents(n_queries, n_keys, device), shown)

    def _shown(self, batch: int, n_queries: int, n_keys: int, device: torch.device) -> Tensor:
        """Whether a key is shown by each rule to some query: ``(batch, key)`` bool."""
        seen = self._in_reach(batch, n_queries, n_keys, device)
        if self.keys is not None:
            seen = seen & self.keys.to(device)
        if self.mask is not None:
            seen = seen & self.mask.any(dim=2).any(dim=1).to(device)
        return seen

    def _own_documents(self, n_queries: int, n_keys: int, device: torch.device) -> Tensor:
        """Label of each query's document, ``(batch, query)``; ``NO_DOCUMENT`` where none can be told."""
        if self.documents is None:
            raise CallError("visibility: the rules name no documents")
        if self.query_documents is not None:
            return self.query_documents.to(device)
        documents = self.documents.to(device, torch.int64)
        own = torch.arange(n_queries, device=device) + self.start(n_queries, n_keys)
        inside = (own >= 0) & (own < n_keys)
        return documents[:, own.clamp(0, n_keys - 1)].masked_fill(~inside, NO_DOCUMENT)

    def _in_reach(self, batch: int, n_queries: int, n_keys: int, device: torch.device) -> Tensor:
        """Whether a real query, of the key's own document, is in reach by causal and window rules: ``(batch, key)``."""
        real = torch.ones(batch, n_queries, dtype=torch.bool, device=device)
        if self.queries is not None:
            real = real & self.queries.to(device)
        own = torch.arange(n_keys, device=device) - self.start(n_queries, n_keys)
        begin = own if self.is_causal else torch.zeros_like(own)
        end = torch.full_like(own, n_queries)
        if self.window is not None:
            begin = begin if self.is_causal else own - self.window + 1
            end = own + self.window
        begin, end = begin.clamp(0, n_queries), end.clamp(0, n_queries)
        if self.documents is not None:
            keys, own = self.documents.to(device), self._own_documents(n_queries, n_keys, device)
            key_number, query_number, _ = numbered(keys, own)
            return counted(query_number, real, key_number, begin, end) > 0
        real_before = torch.nn.functional.pad(real.cumsum(dim=1), (1, 0))
        return real_before[:, end] > real_before[:, begin]

    def part(self, batch: slice, heads: slice) -> Visibility:
        """Return the rules for some of the sequences and heads."""
        mask = self.mask
        if mask is not None:
            mask = mask if mask.shape[0] == 1 else mask[batch]
            mask = mask if mask.shape[1] == 1 else mask[:, heads]
        names = ("keys", "queries", "documents", "query_documents")
        cut: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name)[batch] for name in names
        }
        return replace(self, mask=mask, **cut)

    def only_causal(self) -> bool:
        """Return whether the causal rule is the only one."""
        return self.is_causal and self._nothing_but_causal()

    def hides_nothing(self) -> bool:
        """Return whether every query sees every key."""
        return not self.is_causal and self._nothing_but_causal()

    def _nothing_but_causal(self) -> bool:
        rules = (self.window, self.keys, self.queries, self.mask, self.documents)
        return all(rule is None for rule in rules)

    def with_padding(self, keys: Tensor | None = None, queries: Tensor | None = None) -> Visibility:
        """Return the rules with padded keys hidden, and padded queries without visible keys."""
        return replace(self, keys=keys, queries=queries)


def causal(*, window: int | None = None, offset: int | None = None) -> Visibility:
    """Create a causal mask: a query sees its own and earlier positions, at most ``window`` of them.

    Args:
        window: Number of keys seen, the query's own included; None for all.
        offset: Key position of query 0; None aligns the last query with the last key.

    Example:
        >>> causal(window=2).block(0, 3, 0, 3, 3, 3, torch.device("cpu"))[0, 0].int().tolist()
        [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    return Visibility(is_causal=True, window=window, offset=offset)


def bidirectional(*, window: int | None = None) -> Visibility:
    """Create a bidirectional mask: a query sees all keys, or with ``window`` those fewer than ``window`` positions
    away.

    Args:
        window: Positions within which keys are seen, the query's own included; None for all.

    Example:
        >>> bidirectional().hides_nothing()
        True
    """
    return Visibility(window=window)


def padding(attention_mask: Tensor, *, queries: bool = True) -> Visibility:
    """Create a padding mask: keys with ``attention_mask`` 0 are hidden, and queries there see nothing.

    Args:
        attention_mask: ``(batch, key)``, non-zero at real tokens, as tokenizers return it.
        queries: Whether the same mask stands for the queries too (self-attention of equal lengths).

    Example:
        >>> (causal() & padding(torch.tensor([[1, 1, 0]]))).keys.tolist()
        [[True, True, False]]
    """
    real = tensor_of("attention_mask", attention_mask).bool()
    return Visibility(keys=real, queries=real if queries else None)


def masked(mask: Tensor) -> Visibility:
    """Create a mask from a bool tensor: a query sees the keys where ``mask`` is True.

    Args:
        mask: Bool, broadcastable to ``(batch, head, query, key)``.

    Example:
        >>> masked(torch.ones(3, 3, dtype=torch.bool).tril()).mask.shape
        torch.Size([1, 1, 3, 3])
    """
    return Visibility(mask=mask)


def documents(ids: Tensor, query_ids: Tensor | None = None) -> Visibility:
    """Create a mask for packed documents: a query sees only keys of its own document.

    Labels may come in any order and need not be contiguous; they say nothing about padding, which is ``padding``.

    Args:
        ids: ``(batch, key)`` integer label of each key's document.
        query_ids: ``(batch, query)`` labels of the queries; None takes the label at each query's own position.

    Example:
        >>> rules = causal() & documents(torch.tensor([[0, 0, 1]]))
        >>> rules.block(0, 3, 0, 3, 3, 3, torch.device("cpu"))[0, 0].int().tolist()
        [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    """
    return Visibility(documents=ids, query_documents=query_ids)


def visibility_of(given: Any) -> Visibility:
    """Convert a user's argument, such as ``"causal"`` or a mask, to a ``Visibility``.

    Args:
        given: Rules (``heedful.causal()`` and the others), ``"causal"``, ``"bidirectional"``, or a bool tensor or numpy
            array broadcastable to ``(batch, head, query, key)``, True where a key is visible.

    Returns:
        The rules.

    Raises:
        CallError: It is none of these.

    Example:
        >>> visibility_of("causal") == causal()
        True
    """
    if isinstance(given, Visibility):
        return given
    if isinstance(given, str) and given in ("causal", "bidirectional"):
        return causal() if given == "causal" else bidirectional()
    if not isinstance(given, str) and (isinstance(given, Tensor) or hasattr(given, "dtype") or isinstance(given, list)):
        return masked(tensor_of("visibility", given))
    message = "expected 'causal', 'bidirectional', a bool tensor (True = visible), or heedful.causal() and its like"
    if callable(given):
        raise CallError(f"visibility: {message}; got the function {getattr(given, '__name__', given)!s} (call it)")
    raise CallError(f"visibility: {message}; got {given!r:.60}")


NO_DOCUMENT = torch.iinfo(torch.int64).min
"""Label of a query that stands at no key's position: it sees nothing."""


def numbered(keys: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, int]:
    """Renumber document labels to 0, 1, 2, ...; return the labels of keys, the labels of queries, and how many labels
    there are.
    """
    labels, found = torch.unique(torch.cat([keys, queries], dim=1), return_inverse=True)
    return found[:, : keys.shape[1]], found[:, keys.shape[1] :], labels.numel()


def counted(queries: Tensor, real: Tensor, keys: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Return, for each key, how many queries of its document lie in positions ``[begin, end)``, padding left out,
    ``(batch, key)``.

    Args:
        queries: ``(batch, query)`` document numbers.
        real: ``(batch, query)`` bool, False at queries that do not count.
        keys: ``(batch, key)`` document numbers.
        begin: ``(key,)`` first query position, 0 to the number of queries.
        end: ``(key,)`` end of them.

    Returns:
        ``(batch, key)`` int64.
    """
    stride = queries.shape[1] + 1
    places = queries * stride + torch.arange(queries.shape[1], device=queries.device)
    beyond = torch.iinfo(places.dtype).max
    places = places.masked_fill(~real, beyond).sort(dim=1).values
    low, high = (torch.searchsorted(places, (keys * stride + edge).contiguous()) for edge in (begin, end))
    return (high - low).clamp_min(0)


def first_of_own(keys: Tensor, queries: Tensor, shown: Tensor) -> Tensor:
    """Return the position of the first visible key of each query's document, ``(batch, query)``.

    Args:
        keys: ``(batch, key)`` labels of documents.
        queries: ``(batch, query)`` labels of documents.
        shown: ``(batch, key)`` bool.

    Returns:
        ``(batch, query)`` int64; 0 where the document shows no key.
    """
    key_number, query_number, count = numbered(keys, queries)
    unseen = keys.shape[1]
    position = torch.arange(unseen, device=keys.device).expand_as(keys)
    first = torch.full((keys.shape[0], count), unseen, dtype=torch.int64, device=keys.device)
    first = first.scatter_reduce(1, key_number, position.masked_fill(~shown, unseen), "amin")
    return torch.gather(first, 1, query_number).remainder(unseen)


def both_packings(
    mine: tuple[Tensor | None, Tensor | None], theirs: tuple[Tensor | None, Tensor | None]
) -> tuple[Tensor | None, Tensor | None]:
    """Combine two packings: keys share a label only if they share a document in both.

    Args:
        mine: Labels of keys and of queries, each or None.
        theirs: The same of the other rule.

    Returns:
        Labels of keys and of queries.

    Raises:
        CallError: Both are given and their shapes differ, or one names its queries and the other does not.
    """
    if mine[0] is None or theirs[0] is None:
        return theirs if mine[0] is None else mine
    shapes = [[None if labels is None else tuple(labels.shape) for labels in pair] for pair in (mine, theirs)]
    if shapes[0] != shapes[1]:
        raise CallError(f"visibility: two rules of documents whose shapes differ: {shapes[0]} and {shapes[1]}")
    if mine[1] is None or theirs[1] is None:
        return torch.unique(torch.stack([mine[0], theirs[0]]).flatten(1), dim=1, return_inverse=True)[1].view_as(
            mine[0]
        ), None
    joined = torch.stack([torch.cat([mine[0], mine[1]], 1), torch.cat([theirs[0], theirs[1]], 1)])
    number = torch.unique(joined.flatten(1), dim=1, return_inverse=True)[1].view(joined.shape[1:])
    n_keys = mine[0].shape[1]
    return number[:, :n_keys], number[:, n_keys:]


def tensor_of(name: str, given: Any) -> Any:
    """Convert a tensor, numpy array or nested list to a tensor; None stays None.

    Args:
        name: What it is called in messages.
        given: The tensor; one of torch is returned as it is.

    Raises:
        CallError: It is none of these.

    Example:
        >>> tensor_of("key", [[1.0, 2.0]]).shape
        torch.Size([1, 2])
    """
    if given is None or isinstance(given, Tensor):
        return given
    if isinstance(given, np.ndarray | np.generic | list | tuple):
        try:
            return torch.as_tensor(np.ascontiguousarray(given) if isinstance(given, np.ndarray) else np.asarray(given))
        except (TypeError, ValueError) as error:
            message = " ".join(str(error).split())[:120]
            raise CallError(
                f"{name}: expected a tensor, got a {type(given).__name__} that is none: {message}"
            ) from None
    raise CallError(f"{name}: expected a tensor or a numpy array, got {type(given).__name__}")
